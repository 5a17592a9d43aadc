"""Break kernels one token at a time and see the tests go red: `python tests/mutation.py`.

A mutant that survives is a hole in the tests; the script then exits with 1. Each runs in a copy
of the repository, with a machine code cache of its own.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
NAMES = (
    "kernels", "elementary", "training", "trainer", "prediction", "samples", "dropout",
    "normalization", "plan", "bfloat16", "codes", "phases", "numbers", "digests", "residual",
    "ranks", "ranks_norm", "doors", "embedding",
)  # fmt: skip

# What most likely sees a mutant runs first: compilation takes nearly all of the time.
FIRST = {
    "activations": "training",
    "batch_norm": "normalization",
    "bfloat16": "bfloat16",
    "catalogue": "plan",
    "chains": "codes",
    "conversion": "samples",
    "dropout": "dropout",
    "elementary": "elementary",
    "embedding": "embedding",
    "layer_norm": "normalization",
    "norm_passes": "normalization",
    "operands": "digests",
    "panels": "digests",
    "passes": "training",
    "philox": "dropout",
    "prediction": "prediction",
    "program": "training",
    "reduced": "bfloat16",
    "residual": "residual",
    "room": "normalization",
    "shards": "ranks",
    "shared_norms": "ranks_norm",
    "table_updates": "embedding",
    "threads": "phases",
    "units": "bfloat16",
    "update": "training",
    "weights": "training",
}


def tests_for(file):
    """Return all tests, the one that most likely sees a mutant in a file of `kernels/` first."""
    first = FIRST.get(file.removesuffix(".py"), NAMES[0])
    return [f"tests/test_{name}.py" for name in sorted(NAMES, key=lambda name: name != first)]


# (file, a piece of it that stands there once, what to put in its place)
MUTANTS = [
    ("relu.py", "store(outputs + i, select(x <= 0.0", "store(outputs + i, select(x >= 0.0"),
    ("bfloat16.py", "constant_words(0x7FFF)", "constant_words(0x8000)"),
    ("bfloat16.py", "if 2 * i + 1 < rows:", "if 2 * i < rows:"),
    ("bfloat16.py", "rest = builder.fsub(values,", "rest = builder.fadd(values,"),
    ("units.py", "left, right = part_if(2), part_if(1)", "left, right = part_if(2), part_if(2)"),
    ("units.py", "ir.Constant(I32, 0x8040)", "ir.Constant(I32, 0x0040)"),
    ("units.py", "tiles = map(_tile, (2 * i + v, 4 + i, 6 + v))",
     "tiles = map(_tile, (2 * i + v, 4 + i, 7 - v))"),
    ("reduced.py", "depth = depth_tiles(min(rows - first, SUM_ROWS))",
     "depth = depth_tiles(SUM_ROWS)"),
    ("reduced.py", "place = layer.input_tiles + first // BF16_TILE_DEPTH * step",
     "place = layer.input_tiles"),
    ("relu.py", "mask = load_part(inputs + whole, rest, 0.0) <= 0.0",
     "mask = load_part(inputs + whole, rest, 0.0) < 0.0"),
    ("softmax.py", "e = exp(load(row + j) - shift)", "e = exp(load(row + j) + shift)"),
    ("softmax.py", "load_part(row + whole, size - whole, -np.inf)",
     "load_part(row + whole, size - whole, 0.0)"),
    ("softmax.py", "(load(doutputs + j) - mean)", "(load(doutputs + j) + mean)"),
    ("cross_entropy.py", "-1.0 / p / rows", "1.0 / p / rows"),
    ("cross_entropy.py", "get(row + label) * factor - 1.0", "get(row + label) * factor + 1.0"),
    ("cross_entropy.py", "(p - one_hot_lanes(p, label))", "(p + one_hot_lanes(p, label))"),
    ("cross_entropy.py", "select(t > 0.0,", "select(t >= 0.0,"),
    ("tile.py", 'builder.fcmp_ordered("<=", output, zero)',
     'builder.fcmp_ordered("<", output, zero)'),
    ("tile.py", "last = builder.sub(rows, self.constant(1))",
     "last = builder.sub(rows, self.constant(0))"),
    ("tile.py", "self.masks = [None] * (self.vectors - 1) + [last]",
     "self.masks = [None] * self.vectors"),
    ("tile.py", "whole = self.builder.and_(depth, self.constant(-UNROLL))",
     "whole = self.builder.or_(depth, self.constant(-UNROLL))"),
    ("products.py", "if is_transposed(left) and rows < height:",
     "if is_transposed(left) and rows > height:"),
    ("emit.py", "low = [j + lanes - size if j & size else j for j in range(lanes)]",
     "low = [j + lanes - size if j & 1 else j for j in range(lanes)]"),
    ("products.py", "if term == 0:", "if term >= 0:"),
    ("tile.py", "rate = emit_splat(builder, builder.fneg(ending.rate)",
     "rate = emit_splat(builder, (ending.rate)"),
    ("batches.py", "b = fma(load(start + (i + step)), zero, b)",
     "b = fma(load(start + i), zero, b)"),
    ("conversion.py", "constant(whole, 0x7C00)", "constant(whole, 0x7FFF)"),
    ("conversion.py", "2.0**112", "2.0**111"),
    ("conversion.py", "source + j * step))", "source + j * size))"),
    ("conversion.py", "rest = count - whole", "rest = count"),
    ("program.py", "start = batch_number * batch_size", "start = 0"),
    ("update.py", "factor = splat(parameters, -rate)", "factor = splat(parameters, rate)"),
    ("program.py", "batch = min(batch_size, n_samples - start)", "batch = batch_size"),
    ("passes.py", "scale = 1.0 / len(indices)\n", "scale = 1.0 / (len(indices) + 1)\n"),
    ("passes.py", "total += sample_weights[i]", "total += 1.0"),
    ("weights.py", "follow(\n            panel,", "follow(\n            piece,"),
    ("weights.py", "if is_penalized(layer, strength):\n        weigh_rows",
     "if False:\n        weigh_rows"),
    ("operands.py", "index * layer.operand_rows + first * padded", "index * layer.operand_rows"),
    ("packing.py", "column * depth + first * padded", "column * depth"),
    ("products.py", "nothing if term == 0 else place", "nothing"),
    ("panels.py", "layer.trains_transposed or layer.packs_left", "layer.trains_transposed"),
    ("weights.py", "math.sqrt(squares) + 1e-6", "math.sqrt(squares) + 1.0"),
    ("weights.py", "squares += wide_square(piece + j)", "squares += 1.0"),
    ("products.py", "add_piece(total, lost, part, height * count)",
     "add_piece(total, lost, part, 0)"),
    ("batch_norm.py", "shift = shift / float(max(rows, 1))", "shift = shift * 0.0"),
    ("update.py", "store_part(parameters, flushed(p), rest)", "store_part(parameters, p, rest)"),
    ("update.py", "g = select(g > limit, limit, g)", "g = select(g > limit, g, g)"),
    ("update.py", "c = select(b > c, b, c)", "c = select(b < c, b, c)"),
    ("update.py", "p * factors.shrink, rest", "p * 1.0, rest"),
    # Weight decay that spares nothing, or weights too; averages that move the wrong way.
    ("update.py", "is_bias and now.spares_biases != 0.0", "is_bias and False"),
    ("update.py", "is_bias and now.spares_biases != 0.0", "now.spares_biases != 0.0"),
    ("norm_passes.py", "rule, now, scale, 0.0, 0.0, True,", "rule, now, scale, 0.0, 0.0, False,"),
    ("update.py", "fma(factor, p - a, a)", "fma(factor, p, a)"),
    ("update.py", "average(states + n_states_of(rule) * distance,", "average(states,"),
    ("losses.py", "total = total + keep(loss, rest)", "total = total + loss"),
    ("losses.py", "select(d < 0.0, splat(z, -number), zero)",
     "select(d < 0.0, splat(z, number), zero)"),
    ("losses.py", "known += get(targets + j) == get(targets + j)", "known += 1"),
    ("losses.py", "right += is_known and (", "right += True and ("),
    ("losses.py", "more = t * (number - 1.0)", "more = t * number"),
    ("losses.py", "put(gradient + j, element(z, 0.0))", "pass"),
    ("passes.py", "put(doutputs + j, element(workspace, 0.0))", "pass"),
    ("passes.py", "j += max(run, 1)", "j += run + 1"),
    ("losses.py", "select(d > 1.0, zero, d)", "select(d > 1.0, d, zero)"),
    ("losses.py", "select(t > 0.0, loss, rate), rate - t", "loss, rate - t"),
    ("activations.py", "return s * fma(x, one - s, one)", "return s * fma(x, s, one)"),
    ("activations.py", "select(x > 0.0, x, zero) + (log(u)",
     "select(x > 0.0, x, zero) - (log(u)"),
    ("update.py", "sign_of(fma(first, a,", "sign_of(fma(splat(p, second), a,"),
    ("dropout.py", "int(min(rate *", "int(min((1.0 - rate) *"),
    ("dropout.py", "select(factor > 0.0, values, zero)", "select(factor > 0.0, factor, zero)"),
    ("dropout.py", "philox(key, group // 4,", "philox(key, group,"),
    ("batch_norm.py", "splat(gap, before * share), squares + block",
     "splat(gap, share), squares + block"),
    ("batch_norm.py", "unbiased = variance * (rows / max(rows - 1, 1))", "unbiased = variance"),
    ("layer_norm.py", "min(step, size - j), first_lane(mean)) - mean",
     "min(step, size - j), 0.0) - mean"),
    ("layer_norm.py", "g = fma(load_part(normalized + j, rest, 0.0), back, g - mean)",
     "g = fma(load_part(normalized + j, rest, 0.0), back, g)"),
    ("residual.py", "load(a + j) + load(b + j)", "load(a + j) - load(b + j)"),
    ("residual.py", "layer.dskip + (first + i) *", "layer.dskip + i *"),
    ("residual.py", "values, workspace + (layer.skip + (first + i) * row)",
     "values, workspace + (layer.skip + i * row)"),
    ("residual.py", "layer.operation == Operation.BRANCH:", "layer.operation == Operation.ADD:"),
    ("residual.py", "skip = workspace + layer.row_skip", "skip = workspace"),
    ("embedding.py", "if value >= 0.0 and value < n_categories:", "if value >= 0.0:"),
    ("embedding.py", "        if code == value:\n", "        if True:\n"),
    ("embedding.py", "tables + (column.table + code * size), size)",
     "tables + (column.table + code), size)"),
    ("embedding.py", "first, last = max(place, begin), min(place + size, end)",
     "first, last = place, min(place + size, end)"),
    ("embedding.py", "column.output + (first - place))", "column.output)"),
    ("embedding.py", "output_row, min(SUM_ROWS, rows - first),", "output_row, SUM_ROWS,"),
    ("embedding.py", "            add_piece(piece, lost, part, size)\n", "            pass\n"),
    ("embedding.py", "layer.inputs + first * layer.input_row", "layer.inputs"),
    ("embedding.py", "slope if is_number else 0.0", "slope"),
    ("embedding.py", "share(layer.table_size, TABLE_PIECE, thread, threads)",
     "share(layer.table_size // 2, TABLE_PIECE, thread, threads)"),
    ("table_updates.py", "at, min(at + TABLE_PIECE, end),\n                )",
     "at, min(at + TABLE_PIECE, end) - 1,\n                )"),
    ("table_updates.py", "        l1, l2 = 0.0, 0.0\n", "        pass\n"),
    ("table_updates.py", "pointer(states) + (layer.weights + begin)",
     "pointer(states) + layer.weights"),
    ("table_updates.py", "            if layer.trains != 0:\n                update_piece(",
     "            if True:\n                update_piece("),
    ("table_updates.py", "abs(l1), l2)\n    piece", "abs(l1), 0.0)\n    piece"),
    ("table_updates.py", "sums[SumRow.SQUARES, place] = sum_squares(piece, size)",
     "sums[SumRow.SQUARES, place] = 0.0"),
    ("table_updates.py", "squares += wide_square(", "squares += 0.0 * wide_square("),
    ("room.py", "2 * -(-capacity // BLOCK) * row", "2 * (capacity // BLOCK) * row"),
    ("catalogue.py", '"Softmax", reads_outputs=True', '"Softmax", reads_outputs=False'),
    ("chains.py", "return compiled(lambda code: code == a or code == b or code == c)",
     "return compiled(lambda code: code == a or code == b)"),
    ("norm_passes.py", "    rows = BLOCK\n", "    rows = tile_rows(like)\n"),
    ("batch_norm.py", "sums, products, scale, parameters",
     "products, sums, scale, parameters"),
    ("norm_passes.py", "sums[SumRow.SQUARES, layer.first_sum + j] = w * w",
     "sums[SumRow.SQUARES, layer.first_sum + j] = 0.0"),
    ("batch_norm.py", "store_part(scales + (2 * layer.output_row + j), shift, count)",
     "store_part(scales + (2 * layer.output_row + j), scale, count)"),
    ("philox.py", "ROUNDS = 10", "ROUNDS = 9"),
    ("philox.py", "icmp_unsigned(\">=\"", "icmp_signed(\">=\""),
    ("dropout.py", "rate, key, layer.dropout_index, step, first + i,",
     "rate, key, layer.dropout_index, step, i,"),
    ("dropout.py", "rate, key, layer.dropout_index, step,", "rate, key, 0, step,"),
    ("weights.py", "row, end)\n\n\n@inner\ndef form_piece",
     "row, row)\n\n\n@inner\ndef form_piece"),
    # A block that is computed twice, and one that is not computed at all.
    ("threads.py", "            return block\n", "            return block & -2\n"),
    # A phase that ends before its last block, and one that finds the blocks of another taken.
    ("threads.py", "< phase.n_blocks - 1:", "< phase.n_blocks - 2:"),
    ("threads.py", "block = max(seen, first) - first", "block = seen & (_MOST_BLOCKS - 1)"),
    ("prediction.py", "w + index % 2 * half", "w + 0 * half"),
    ("prediction.py", "relu_values(result, result, size)", "relu_values(result, result, 0)"),
    ("products.py", "count = min(step, columns - j)\n        total = load_part(start",
     "count = min(step, columns)\n        total = load_part(start"),
    # The rows of a rank, of a shard, and of a thread, and where their gradients lie.
    ("shards.py", "first, end = first + own, end + own", "first, end = first, end"),
    ("shared_norms.py", "begin = min((runs.first_shard + shard) * runs.length, runs.batch)",
     "begin = min(shard * runs.length, runs.batch)"),
    ("shared_norms.py", "return begin, min(begin + runs.length, runs.batch) - begin",
     "return begin, runs.batch - begin"),
    ("shards.py", "runs.gradients + (shard * runs.distance + place)", "runs.gradients + place"),
    ("shards.py", "layer.inputs + first * layer.input_row + row", "layer.inputs + row"),
    ("shards.py", "layer.inputs + first * layer.input_row + row",
     "layer.inputs + first * layer.input_row"),
    ("shards.py", "doutputs = workspace + (layer.doutputs + first * layer.output_row)",
     "doutputs = workspace + layer.doutputs"),
    ("shards.py", "layer.doutputs + first * layer.output_row + begin",
     "layer.doutputs + first * layer.output_row"),
    ("shards.py", "if rows > SUM_ROWS:", "if rows < 0:"),
    ("shards.py", "            if layer.has_biases != 0:\n                begin",
     "            if layer.has_biases == 0:\n                begin"),
    ("shards.py", "at = first * layer.output_row + begin", "at = begin"),
    ("shards.py", "add_gradients(runs, layer.weights + begin, end - begin)",
     "add_gradients(runs, layer.weights + begin, 0)"),
    ("shards.py", "batch = min(job.batch_size, n_samples - start)", "batch = job.batch_size"),
    # The tree of a rank, that of its losses, and the step along the sum.
    ("shared_norms.py", "for shard in range(begin, end - span, 2 * span):",
     "for shard in range(begin, end - span, 4 * span):"),
    ("shared_norms.py", "get(runs.nodes + 2 * node) - runs.first_shard",
     "get(runs.nodes + 2 * node)"),
    ("shards.py", "results[i, 1] += results[i + span, 1]", "results[i, 1] += results[i, 1]"),
    ("shards.py", "range(n_parts)", "range(1)"),
    ("shards.py", "averages + at, runs.distance", "averages, runs.distance"),
    ("shards.py", "0.0, 0.0, norm or part == 1,", "0.0, 0.0, norm,"),
    # What the door says.
    ("shards.py", "notes[Note.STATUS] != 0.0 or notes[Note.IS_FINITE] == 0.0",
     "notes[Note.IS_FINITE] == 0.0"),
    ("shards.py", "notes[Note.STATUS] != 0.0 or notes[Note.IS_FINITE] == 0.0",
     "notes[Note.STATUS] != 0.0"),
    ("shards.py", "notes[Note.STATUS] = 1.0  #", "notes[Note.STATUS] = 0.0  #"),
    ("shards.py", "notes[Note.SCALE], thread, threads,", "1.0, thread, threads,"),
    ("shards.py", "+= notes[Note.PENALTY] * batch", "+= notes[Note.PENALTY]"),
    # The moments of a batch that ranks share.
    ("shared_norms.py", "call_door(runs.door, -count)", "call_door(runs.door, -size)"),
    ("shared_norms.py", "- get(means + j) - get(shifts + j)", "- get(means + j)"),
    ("shared_norms.py", "/ count - shift * shift", "/ count"),
    ("shared_norms.py", "(mean + x * slope)", "mean"),
    ("shared_norms.py", "put(runs.notes + Note.OVERFLOWN, 1.0)",
     "put(runs.notes + Note.OVERFLOWN, 0.0)"),
    ("shared_norms.py", "put(slopes + (layer.weights + j), get(sums + (layer.n_outputs + j)))",
     "put(slopes + (layer.weights + j), get(sums + j))"),
    ("elementary.py", "scale_by_power_of_two(series(rest), shifted)",
     "scale_by_power_of_two(series(rest), shifted + 1.0)"),
]  # fmt: skip


def main():
    for file, old, _ in MUTANTS:
        count = (ROOT / "kernels" / file).read_text().count(old)
        if count != 1:
            sys.exit(f"{file}: {old!r} stands there {count} times, expected once")
    if breaks("relu.py", "", ""):
        sys.exit("the tests are red before anything is broken")
    survivors = []
    for number, (file, old, new) in enumerate(MUTANTS, start=1):
        red = breaks(file, old, new)
        print(f"{number:2}/{len(MUTANTS)} {'red  ' if red else 'ALIVE'} {file}: {new}", flush=True)
        if not red:
            survivors.append(new)
    print(f"{len(MUTANTS) - len(survivors)} of {len(MUTANTS)} mutants turn the tests red")
    return 1 if survivors else 0


def breaks(file, old, new):
    """Return whether the tests are red with `new` in place of `old` in a kernel file."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder)
        shutil.copytree(ROOT / "tests", copy / "tests")
        shutil.copy(ROOT / "pyproject.toml", copy)
        shutil.copytree(ROOT / "fastnn", copy / "site" / "fastnn")
        shutil.copytree(ROOT / "kernels", copy / "site" / "fastnn" / "kernels")
        path = copy / "site" / "fastnn" / "kernels" / file
        if old:
            path.write_text(path.read_text().replace(old, new))
        return run_tests(copy, tests_for(file))


def run_tests(copy, tests):
    """Return whether a test fails (1) or the process dies by a signal, as a wild pointer does."""
    environment = {
        **os.environ,
        "PYTHONPATH": str(copy / "site"),
        "FASTNN_CACHE_DIR": str(copy / "cache"),
    }
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *tests]
    result = subprocess.run(command, cwd=copy, env=environment, capture_output=True, text=True)
    if result.returncode not in (0, 1) and result.returncode > 0:
        sys.exit(f"pytest could not run:\n{result.stdout}{result.stderr}")
    return result.returncode != 0


if __name__ == "__main__":
    sys.exit(main())
