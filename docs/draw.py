"""The pictures of the documentation, written as SVG: `python docs/draw.py`."""

from pathlib import Path
from xml.sax.saxutils import escape

BLUE, ORANGE, GREEN, GRAY = "#0072B2", "#D55E00", "#009E73", "#767676"
_PALE = {BLUE: "#d6e8f4", ORANGE: "#fae0d0", GREEN: "#d3efe5", GRAY: "#eeeeee"}


class Picture:
    """Shapes and words on white, in pixels from the upper left corner."""

    def __init__(self, width, height):
        self.lines = [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
            f'width="{width}" height="{height}" font-family="Helvetica, Arial, sans-serif">',
            f'<rect width="{width}" height="{height}" fill="white"/>',
        ]

    def box(self, x, y, width, height, color, words="", size=14, pale=True):
        """A rectangle with words in its middle."""
        fill = _PALE[color] if pale else color
        self.lines.append(
            f'<rect x="{x}" y="{y}" width="{width}" height="{height}" fill="{fill}" '
            f'stroke="{color}" stroke-width="1.2"/>'
        )
        if words:
            ink = "#222222" if pale else "white"
            self.words(x + width / 2, y + height / 2 + 0.35 * size, words, size, ink, "middle")

    def words(self, x, y, words, size=14, color="#222222", anchor="start", weight="normal"):
        """Words that start, end or have their middle at x, on the line y."""
        self.lines.append(
            f'<text x="{x:g}" y="{y:g}" font-size="{size}" fill="{color}" '
            f'text-anchor="{anchor}" font-weight="{weight}">{escape(words)}</text>'
        )

    def line(self, x0, y0, x1, y1, color=GRAY, width=1.5, dashes="", arrow=False):
        """A line, perhaps with an arrow at its end; it has to be level or upright for that."""
        dashed = f' stroke-dasharray="{dashes}"' if dashes else ""
        self.lines.append(
            f'<line x1="{x0}" y1="{y0}" x2="{x1}" y2="{y1}" stroke="{color}" '
            f'stroke-width="{width}"{dashed}/>'
        )
        if arrow:
            along, across = (8 * _sign(x1 - x0), 8 * _sign(y1 - y0)), 4
            ends = [
                (
                    x1 - along[0] + side * across * bool(along[1]),
                    y1 - along[1] + side * across * bool(along[0]),
                )
                for side in (1, -1)
            ]
            corners = " ".join(f"{x},{y}" for x, y in [(x1, y1), *ends])
            self.lines.append(f'<polygon points="{corners}" fill="{color}"/>')

    def text(self):
        """Return the file."""
        return "\n".join([*self.lines, "</svg>", ""])


def _sign(number):
    return (number > 0) - (number < 0)


def draw_step():
    """Return the picture of one training step on two threads."""
    picture = Picture(920, 330)
    start, rows_end, end = 120, 570, 850
    picture.words((start + rows_end) / 2, 32, "rows phase", 17, BLUE, "middle", "bold")
    picture.words((rows_end + end) / 2 + 10, 32, "weights phase", 17, ORANGE, "middle", "bold")
    picture.words(
        (start + rows_end) / 2, 54, "each thread has its rows of the batch", 14, GRAY, "middle"
    )
    picture.words(
        (rows_end + end) / 2 + 10, 54, "each thread has its rows of each W", 14, GRAY, "middle"
    )
    passes = [
        ("gather", 70),
        ("layer 1", 80),
        ("layer 2", 80),
        ("loss", 60),
        ("back to layer 1", 130),
    ]
    for thread in range(2):
        y = 80 + 90 * thread
        picture.words(20, y + 32, f"thread {thread}", 15, weight="bold")
        picture.words(20, y + 50, f"rows {16 * thread} to {16 * thread + 15}", 12, GRAY)
        x = start
        for words, width in passes:
            picture.box(x, y, width, 60, GRAY if words == "gather" else BLUE, words)
            x += width + 4
        x = rows_end + 24
        for layer in (1, 2):
            picture.box(x, y, 122, 60, ORANGE)
            part = "upper" if thread == 0 else "lower"
            picture.words(x + 61, y + 26, f"W{layer}, {part} half:", 13, anchor="middle")
            picture.words(x + 61, y + 45, "gradient, step", 13, anchor="middle")
            x += 126
    for x in (rows_end + 8, end + 8):
        picture.line(x, 68, x, 248, "#222222", 3)
        picture.words(x, 268, "barrier", 14, anchor="middle")
    picture.line(start, 296, end, 296, arrow=True)
    picture.words(
        (start + end) / 2,
        318,
        "time: one step, two barriers, with any number of dense layers",
        14,
        GRAY,
        "middle",
    )
    return picture.text()


def draw_tile():
    """Return the picture of the micro-kernel: one step of its inner loop."""
    picture = Picture(720, 385)
    rows, vectors, height, width, lanes = 8, 3, 26, 132, 16
    left, top = 250, 120
    for row in range(rows):
        picture.box(70, top + row * height, 60, height - 4, GREEN, f"x[{row}, k]", 13)
        for vector in range(vectors):
            x = left + vector * (width + 8)
            picture.box(x, top + row * height, width, height - 4, BLUE)
            for lane in range(1, lanes):
                at = x + lane * width / lanes
                picture.line(
                    f"{at:g}",
                    top + row * height,
                    f"{at:g}",
                    top + row * height + height - 4,
                    "#9cc4de",
                    0.6,
                )
    for vector in range(vectors):
        x = left + vector * (width + 8)
        picture.box(
            x, 56, width, height, ORANGE, f"W[k, {vector * lanes} to {vector * lanes + 15}]", 13
        )
        picture.line(x + width // 2, 86, x + width // 2, 114, ORANGE, arrow=True)
    picture.line(
        136, top + rows * height // 2 - 2, left - 8, top + rows * height // 2 - 2, GREEN, arrow=True
    )
    picture.words(190, top + rows * height // 2 - 10, "times", 13, GREEN, "middle")
    picture.words(100, 106, "8 numbers", 14, GREEN, "middle", "bold")
    picture.words(left, 42, "1 row of W: 3 vectors of 16 numbers", 14, ORANGE, weight="bold")
    picture.words(
        left,
        top + rows * height + 22,
        "24 sums, each a vector of 16, stay in registers",
        14,
        BLUE,
        weight="bold",
    )
    picture.words(
        left,
        top + rows * height + 46,
        "for k = 0, 1, 2, ...: 24 fused multiply-adds for 11 reads",
        14,
    )
    return picture.text()


def draw_buffer():
    """Return the picture of the parameter buffer and the layers' views of it."""
    picture = Picture(860, 190)
    parts = [
        ("layers[0].weights", "(64, 32)", 330, BLUE), ("biases", "(1, 32)", 70, ORANGE),
        ("layers[2].weights", "(32, 10)", 230, BLUE), ("biases", "(1, 10)", 70, ORANGE),
    ]  # fmt: skip
    x, numbers = 80, [2048, 32, 320, 10]
    for (name, shape, width, color), count in zip(parts, numbers, strict=True):
        picture.box(x, 70, width, 44, color, f"{count:,}")
        picture.words(x + width / 2, 42, name, 14, color, "middle", "bold")
        picture.words(x + width / 2, 60, shape, 13, GRAY, "middle")
        x += width
    picture.line(80, 136, x, 136, arrow=True)
    picture.words(
        (80 + x) / 2,
        160,
        "model.parameters: 2,410 numbers, one behind the other",
        14,
        GRAY,
        "middle",
    )
    return picture.text()


def draw_panels():
    """Return the picture of a matrix of 100 columns, and of its panels in memory."""
    picture = Picture(920, 340)
    left, top, row, scale = 60, 70, 30, 7
    widths, padded = (48, 48, 4), (48, 48, 16)
    colors = BLUE, ORANGE, GREEN
    picture.words(left, 40, "W as a matrix: 100 columns", 15, weight="bold")
    for k in range(4):
        x = left
        for width, color in zip(widths, colors, strict=True):
            picture.box(x, top + k * row, width * scale, row - 4, color)
            x += width * scale
        picture.words(left - 12, top + k * row + 18, str(k), 13, GRAY, "end")
    picture.words(left - 12, top - 8, "k", 13, GRAY, "end")
    x = left
    for width, color in zip(widths, colors, strict=True):
        picture.words(x + width * scale / 2, top - 8, str(width), 13, color, "middle")
        x += width * scale
    picture.words(left, 232, "its panels, one behind the other", 15, weight="bold")
    x, scale = left, 1.75
    for panel, (width, color) in enumerate(zip(padded, colors, strict=True)):
        for k in range(4):
            picture.box(f"{x:g}", 250, f"{width * scale:g}", row, color)
            picture.words(x + width * scale / 2, 269, str(k), 12, anchor="middle")
            x += width * scale
        if panel < 2:
            picture.line(x, 244, x, 286, "#222222", 2)
    picture.words(
        left, 310, "the micro-kernel reads them from left to right, 3 vectors of 16 for each k", 14
    )
    picture.words(
        left, 330, "the last panel is padded with zeros to a whole vector: 16 columns for 4", 14,
        GREEN,
    )  # fmt: skip
    return picture.text()


def draw_pairs():
    """Return the picture of a tile of bfloat16 numbers, as the right operand of AMX."""
    picture = Picture(920, 330)
    left, top, cell, row = 60, 92, 26, 30
    picture.words(left, 36, "W, rounded to bfloat16", 15, weight="bold")
    picture.words(left, 56, "the first of 32 rows and 16 columns", 13, GRAY)
    for k in range(4):
        color = BLUE if k % 2 == 0 else ORANGE
        for j in range(8):
            picture.box(left + j * cell, top + k * row, cell - 2, row - 4, color, f"{k},{j}", 9)
        picture.words(left - 12, top + k * row + 18, str(k), 13, GRAY, "end")
    at = 360
    picture.words(at, 36, "the tile: 16 rows of 64 bytes", 15, weight="bold")
    picture.words(at, 56, "each row has two rows of W, their numbers in pairs", 13, GRAY)
    for k in range(2):
        for j in range(8):
            x = at + j * (2 * cell + 4)
            for half, color in enumerate((BLUE, ORANGE)):
                picture.box(
                    x + half * cell, top + k * row, cell - 2, row - 4, color,
                    f"{2 * k + half},{j}", 9,
                )  # fmt: skip
        picture.words(at - 12, top + k * row + 18, str(k), 13, GRAY, "end")
    picture.line(left + 8 * cell + 12, top + row, at - 40, top + row, arrow=True)
    y = 250
    picture.words(left, y, "One instruction multiplies two such tiles:", 14)
    picture.words(left, y + 22, "16 x 16 sums, each of 32 products, 8,192 multiply-adds", 14, GREEN)
    picture.words(
        left, y + 50, 'precision="high" keeps two tiles of each: the numbers, and what rounding '
        "has taken away", 14,
    )  # fmt: skip
    return picture.text()


def draw():
    """Return {name of the file: its text} of all pictures."""
    return {
        "buffer.svg": draw_buffer(), "step.svg": draw_step(), "tile.svg": draw_tile(),
        "panels.svg": draw_panels(), "pairs.svg": draw_pairs(),
    }  # fmt: skip


if __name__ == "__main__":
    for name, text in draw().items():
        Path(__file__).parent.joinpath("pictures", name).write_text(text, encoding="utf-8")
