"""CSV files that are refused: name -> (text, start of the message). Their labels are in "y"."""

BAD_TABLES = {
    "nothing": ("", "path: {path} is empty, expected column names and rows"),
    "no rows": ("x,y\n", "path: {path} has no rows below the column names, expected samples"),
    "no rows but empty ones": ("x,y\n\n \n", "path: {path} has no rows below the column names"),
    "no target": (
        "x,y2\n1,0\n",
        "target is 'y', expected one of the columns 'x', 'y2'; did you mean 'y2'?",
    ),
    "no features": ("y\n0\n1\n", "path: {path} has no column besides 'y', expected features"),
    "a name twice": ("x,y,x\n1,0,1\n", "path: {path} has 2 columns named 'x', expected one"),
    "the target twice": ("y,x,y\n1,0,1\n", "path: {path} has 2 columns named 'y', expected one"),
    "no name": ("x,,y\n1,2,0\n", "path: {path} has no name for column 2"),
    "text": ("x,y\n1,0\nred,1\n", "column 'x', row 2 is 'red', expected a number"),
    "a decimal comma": ('x,y\n1,0\n"1,5",1\n', "column 'x', row 2 is '1,5', expected a number"),
    "no value": ("w,x,y\n1,2,0\n\n1,,1\n", "column 'x', row 3 is empty, expected a value"),
    "a blank value": ('x,y\n" ",0\n1,1\n', "column 'x', row 1 is empty, expected a value"),
    "a short row": (
        "x,y\n1,0\n2\n",
        "path: {path} has 1 of 2 values in row 2, expected one for each column",
    ),
    "no label": ("x,y\n1,0\n2,\n", "column 'y', row 2 is empty, expected a value"),
    "a long row": ("x,y\n1,0\n2,1,0\n", "path: {path} is no table of comma-separated values"),
    "one class": ("x,y\n1,a\n2,a\n", "target 'y' is 'a' in every row, expected two classes"),
    "nan": ("x,y\n1,0\nNaN,1\n", "column 'x', row 2 is 'NaN', "),
    "infinity": ("x,y\n1,0\n-inf,1\n", "column 'x', row 2 is '-inf', expected a finite number"),
    "a huge number": ("x,y\n1e999,0\n1,1\n", "column 'x', row 1 is '1e999', expected a finite"),
    "not UTF-8": (b"x,y\n1,\xff\n2,0\n", "path: {path} is not in UTF-8, line 2 has the byte 0xff"),
    "semicolons": (
        "x;y\n1;0\n2;1\n",
        "target is 'y', expected one of the columns 'x;y'; --separator ';'",
    ),
    "another case": (
        "x,Y\n1,0\n2,1\n",
        "target is 'y', expected one of the columns 'x', 'Y'; did you mean 'Y'?",
    ),
}
