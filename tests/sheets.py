"""The smallest Excel files that have the frames of a test."""

import zipfile

import polars as pl

TOWNS = ["Rome", "Oslo", "Bern"]
FRAME = pl.DataFrame({"size": [1.5, 2.0, -3.25], "town": TOWNS, "rooms": [1, 2, 3]})


def write_sheet(path, frame=FRAME, header=True, empty=(), others=None):
    """Write the smallest Excel file that has a frame in its first sheet, some rows of it empty.

    `others` are further sheets, {name: frame}.
    """
    sheets = {"one": _sheet(frame, header, empty)}
    sheets |= {name: _sheet(each, True, ()) for name, each in (others or {}).items()}
    _write_sheets(path, sheets)


def _sheet(frame, header, empty):
    cells, rows = [[*frame.columns], *map(list, frame.rows())][not header :], []
    for i, row in enumerate(cells):
        texts = (
            f'<c t="inlineStr"><is><t>{value}</t></is></c>' if isinstance(value, str) else
            f"<c><v>{value}</v></c>" for value in row
        )  # fmt: skip
        rows.append(f'<row r="{i + 1}">{"" if i in empty else "".join(texts)}</row>')
    return "".join(rows)


def _write_sheets(path, sheets):
    main = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
    office = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
    packages = "http://schemas.openxmlformats.org/package/2006"
    parts = {
        "[Content_Types].xml": f'<Types xmlns="{packages}/content-types"/>',
        "_rels/.rels": f'<Relationships xmlns="{packages}/relationships"><Relationship Id="r1" '
        f'Type="{office}/officeDocument" Target="xl/workbook.xml"/></Relationships>',
        "xl/workbook.xml": f'<workbook xmlns="{main}" xmlns:r="{office}"><sheets>' + "".join(
            f'<sheet name="{name}" sheetId="{i + 1}" r:id="r{i + 1}"/>'
            for i, name in enumerate(sheets)
        ) + "</sheets></workbook>",
        "xl/_rels/workbook.xml.rels": f'<Relationships xmlns="{packages}/relationships">' + "".join(
            f'<Relationship Id="r{i + 1}" Type="{office}/worksheet" '
            f'Target="worksheets/sheet{i + 1}.xml"/>' for i in range(len(sheets))
        ) + "</Relationships>",
        **{
            f"xl/worksheets/sheet{i + 1}.xml":
            f'<worksheet xmlns="{main}"><sheetData>{rows}</sheetData></worksheet>'
            for i, rows in enumerate(sheets.values())
        },
    }  # fmt: skip
    with zipfile.ZipFile(path, "w") as file:
        for name, text in parts.items():
            file.writestr(name, text)
