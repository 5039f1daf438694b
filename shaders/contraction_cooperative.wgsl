// Matrix product and the three convolutions by cooperative matrices, which a subgroup multiplies as a whole: tiles in workgroup memory,
// a quarter of a tile for each of four subgroups. The blocks `@matrices`, `@begin`, `@multiply` and `@store` are generated; here they
// are those of the emulation.

// @operands
// One result tile row `m`, contraction index `k` and column `n`; `z` is the batch (matrix product) or the channel group
// (convolution). This section is the same text in every contraction shader.
@group(0) @binding(0) var<storage, read> a: array<f32>;
@group(0) @binding(1) var<storage, read> b: array<f32>;

fn a_at(i: u32) -> f32 { return a[i]; }
fn a_vec(i: u32) -> vec4f { return vec4f(a_at(i), a_at(i + 1u), a_at(i + 2u), a_at(i + 3u)); }
fn b_at(i: u32) -> f32 { return b[i]; }
fn b_vec(i: u32) -> vec4f { return vec4f(b_at(i), b_at(i + 1u), b_at(i + 2u), b_at(i + 3u)); }

// What `a` is: 0 a strided matrix, 1 input pixels (convolution), 2 output gradient pixels (input gradient),
// 3 input pixels with taps and channels as rows (kernel gradient).
override PASS: u32 = 0u;
override M: u32 = 64u;
override N: u32 = 64u;
override K: u32 = 64u;
// 0 if `k` ends with a whole step of the main loop.
override RAGGED: u32 = 1u;
// Contraction indices of one split; a multiple of the step of the main loop.
override K_CHUNK: u32 = 64u;
override SPLITS: u32 = 1u;
override Z: u32 = 1u;
// How each operand is read: 0 by elements, 1 by vectors along `k`, 2 by vectors along the result's axis.
override A_MODE: u32 = 0u;
override B_MODE: u32 = 0u;
override A_OFFSET: u32 = 0u;
override A_BATCH: u32 = 0u;
override A_ROW: u32 = 64u;
override A_COL: u32 = 1u;
override B_OFFSET: u32 = 0u;
override B_BATCH: u32 = 0u;
override B_ROW: u32 = 64u;
override B_COL: u32 = 1u;
// Within spans of this many `k` the stride is B_ROW, from span to span B_TAP.
override B_SPAN: u32 = 64u;
override B_TAP: u32 = 0u;
override OUT_BATCH: u32 = 0u;
override OUT_ROW: u32 = 64u;
override OUT_SIZE: u32 = 4096u;
// Convolution: pixel grid of the rows (of `k` in pass 3), pixel grid of `a`, and the window.
override GRID_D: u32 = 1u;
override GRID_H: u32 = 1u;
override GRID_W: u32 = 1u;
override SOURCE_D: i32 = 1;
override SOURCE_H: i32 = 1;
override SOURCE_W: i32 = 1;
override KERNEL_H: u32 = 1u;
override KERNEL_W: u32 = 1u;
override STRIDE_D: i32 = 1;
override STRIDE_H: i32 = 1;
override STRIDE_W: i32 = 1;
override PAD_D: i32 = 0;
override PAD_H: i32 = 0;
override PAD_W: i32 = 0;
override DILATION_D: i32 = 1;
override DILATION_H: i32 = 1;
override DILATION_W: i32 = 1;
// Channels of `a`: of one group, and of all.
override CHANNELS: u32 = 1u;
override ALL_CHANNELS: u32 = 1u;

struct Row {
    inside: bool,
    base: u32,
    // Image and position of a pixel, or channel and offset of a tap.
    at: vec4i,
}

// A pixel of the grid, as image and corner of its window.
fn pixel(p: u32) -> vec4i {
    let x = i32(p % GRID_W);
    let y = i32(p / GRID_W % GRID_H);
    let d = i32(p / (GRID_W * GRID_H) % GRID_D);
    let image = i32(p / (GRID_W * GRID_H * GRID_D));
    if (PASS == 2u) {
        return vec4i(image, d + PAD_D, y + PAD_H, x + PAD_W);
    }
    return vec4i(image, d * STRIDE_D - PAD_D, y * STRIDE_H - PAD_H, x * STRIDE_W - PAD_W);
}

// How far a tap is from the corner.
fn tap_offset(tap: u32) -> vec3i {
    let x = i32(tap % KERNEL_W);
    let y = i32(tap / KERNEL_W % KERNEL_H);
    let d = i32(tap / (KERNEL_W * KERNEL_H));
    return vec3i(d * DILATION_D, y * DILATION_H, x * DILATION_W);
}

// The element number of channel 0 of the pixel of `a` that a tap of a window reads; -1 outside.
fn source(corner: vec4i, offset: vec3i) -> i32 {
    var p = corner.yzw + offset;
    var inside = true;
    if (PASS == 2u) {
        p = corner.yzw - offset;
        let q = p / vec3i(STRIDE_D, STRIDE_H, STRIDE_W);
        inside = all(q * vec3i(STRIDE_D, STRIDE_H, STRIDE_W) == p) && all(p >= vec3i(0));
        p = q;
    }
    inside = inside && all(p >= vec3i(0)) && all(p < vec3i(SOURCE_D, SOURCE_H, SOURCE_W));
    let index = ((corner.x * SOURCE_D + p.x) * SOURCE_H + p.y) * SOURCE_W + p.z;
    return select(-1, index * i32(ALL_CHANNELS), inside);
}

// What does not change along `k`. Rows past the end repeat the last.
fn a_row(z: u32, m: u32) -> Row {
    let row = min(m, M - 1u);
    if (PASS == 0u) {
        return Row(true, A_OFFSET + z * A_BATCH + row * A_ROW, vec4i(0));
    }
    if (PASS == 3u) {
        return Row(true, z * CHANNELS + row % CHANNELS, vec4i(tap_offset(row / CHANNELS), 0));
    }
    return Row(true, z * CHANNELS, pixel(row));
}

// The element number of `a` at `k`; -1 where it is zero.
fn a_index(row: Row, k: u32) -> i32 {
    if (PASS == 0u) {
        return i32(row.base + k * A_COL);
    }
    if (PASS == 3u) {
        let at = source(pixel(k), row.at.xyz);
        return select(-1, at + i32(row.base), at >= 0);
    }
    let tap = k / CHANNELS;
    let at = source(row.at, tap_offset(tap));
    return select(-1, at + i32(row.base + k - tap * CHANNELS), at >= 0);
}

// Is `k` one of this split? Where all splits are whole steps of the main loop it always is.
fn inside(k: u32, end: u32) -> bool {
    return RAGGED == 0u || k < end;
}

// The nearest `k` that may be read.
fn last(k: u32) -> u32 {
    return select(k, min(k, max(K, 1u) - 1u), RAGGED != 0u);
}

fn a_load(row: Row, k: u32, end: u32) -> f32 {
    let i = a_index(row, last(k));
    if (PASS == 0u) {
        return select(0.0, a_at(u32(i)), inside(k, end));
    }
    return select(0.0, a_at(u32(max(i, 0))), i >= 0 && inside(k, end));
}

// Four elements along `k` (A_MODE 1) or along the rows from `row` on (A_MODE 2).
fn a_load4(row: Row, k: u32, end: u32) -> vec4f {
    let i = a_index(row, last(k));
    if (PASS == 0u) {
        return select(vec4f(), a_vec(u32(i)), inside(k, end));
    }
    return select(vec4f(), a_vec(u32(max(i, 0))), i >= 0 && inside(k, end));
}

fn b_column(z: u32, n: u32) -> u32 {
    return B_OFFSET + z * B_BATCH + min(n, N - 1u) * B_COL;
}

fn b_index(column: u32, k: u32) -> u32 {
    if (B_TAP == 0u) {
        return column + k * B_ROW;
    }
    let span = k / B_SPAN;
    return column + span * B_TAP + (k - span * B_SPAN) * B_ROW;
}

fn b_load(column: u32, k: u32, end: u32) -> f32 {
    return select(0.0, b_at(b_index(column, last(k))), inside(k, end));
}

// Four elements along `k` (B_MODE 1) or along the columns from `column` on (B_MODE 2).
fn b_load4(column: u32, k: u32, end: u32) -> vec4f {
    return select(vec4f(), b_vec(b_index(column, last(k))), inside(k, end));
}
// End of the operands.

// @bindings
@group(0) @binding(2) var<storage, read_write> out: array<f32>;
// @end

// @epilogue
fn epilogue(index: u32, acc: f32) {
    out[index] = acc;
}
// Called before `epilogue4` with the index of the same columns in any row.
fn prepare(index: u32) {}
// Four neighbours; `four` is 4, but only known when run, so that loops up to it are not unrolled.
fn epilogue4(index: u32, acc: vec4f, four: u32) {
    var c = acc;
    for (var j = 0u; j < four; j++) {
        epilogue(index + j, c.x);
        c = c.yzwx;
    }
}
// @end

// @matrices
// Rows and columns of a matrix; matrices of a unit along each axis; steps of `k` in workgroup memory.
const SIZE: u32 = 16u;
const BLOCKS: u32 = 2u;
const STEPS: u32 = 16u;
const THREADS: u32 = 128u;
alias Element = f32;

alias Places = array<u32, BLOCKS>;

var<private> accumulators: array<array<f32, SIZE * SIZE / 8u>, BLOCKS * BLOCKS>;

fn load_matrices(lane: u32, lanes: u32, once: u32) {
    for (var i = 0u; i < BLOCKS * BLOCKS * once; i++) {
        for (var e = lane; e < SIZE * SIZE; e += lanes) {
            accumulators[i][e / lanes] = results[e];
        }
    }
}

fn term(row: u32, column: u32, k: u32) -> f32 {
    return f32(tile_a[row + k]) * f32(tile_b[column + k * B_STRIDE]);
}

fn multiply_add(a: Places, b: Places, lane: u32, lanes: u32, once: u32) {
    var left = a;
    var right = b;
    for (var i = 0u; i < BLOCKS * BLOCKS * once; i++) {
        for (var e = lane; e < SIZE * SIZE; e += lanes) {
            let row = left[i / BLOCKS] + e / SIZE * A_STRIDE;
            let column = right[i % BLOCKS] + e % SIZE;
            var sum = accumulators[i][e / lanes];
            for (var k = 0u; k < SIZE * once; k += 8u) {
                sum += term(row, column, k) + term(row, column, k + 1u) + term(row, column, k + 2u)
                    + term(row, column, k + 3u) + term(row, column, k + 4u) + term(row, column, k + 5u)
                    + term(row, column, k + 6u) + term(row, column, k + 7u);
            }
            accumulators[i][e / lanes] = sum;
        }
    }
}

fn store_matrix(i: u32, at: u32, lane: u32, lanes: u32) {
    for (var e = lane; e < SIZE * SIZE; e += lanes) {
        results[at + e] = accumulators[i][e / lanes];
    }
}
// @end

// What the subgroups share: two by two quarters of a tile.
const UNITS: u32 = 4u;
const QUARTER: u32 = BLOCKS * SIZE;
const SIDE: u32 = 2u * QUARTER;
// Rows of the tiles are apart so that they meet different banks; all of it is whole steps of 16 bytes, as matrices must lie.
const A_STRIDE: u32 = STEPS + 8u;
const B_STRIDE: u32 = SIDE + 8u;

var<workgroup> tile_a: array<Element, SIDE * A_STRIDE>;
var<workgroup> tile_b: array<Element, STEPS * B_STRIDE>;
// A matrix of each unit on its way to the epilogue.
var<workgroup> results: array<f32, UNITS * SIZE * SIZE>;

// Rows `m0` and on, steps `k0` and on. Neighbouring invocations read along the axis that is contiguous.
fn stage_a(z: u32, m0: u32, k0: u32, end: u32, local: u32) {
    for (var e = local; e < SIDE * STEPS / 4u; e += THREADS) {
        if (A_MODE == 2u) {
            let m = e % (SIDE / 4u) * 4u;
            let k = e / (SIDE / 4u);
            let v = a_load4(a_row(z, min(m0 + m, max(M, 4u) - 4u)), k0 + k, end);
            for (var j = 0u; j < 4u; j++) {
                tile_a[(m + j) * A_STRIDE + k] = Element(v[j]);
            }
        } else {
            let down = A_MODE == 0u && A_COL != 1u;
            let m = select(e / (STEPS / 4u), e % SIDE, down);
            let k = select(e % (STEPS / 4u), e / SIDE, down) * 4u;
            let row = a_row(z, m0 + m);
            var v: vec4f;
            if (A_MODE == 1u) {
                v = a_load4(row, k0 + k, end);
            } else {
                for (var j = 0u; j < 4u; j++) {
                    v[j] = a_load(row, k0 + k + j, end);
                }
            }
            for (var j = 0u; j < 4u; j++) {
                tile_a[m * A_STRIDE + k + j] = Element(v[j]);
            }
        }
    }
}

// Steps `k0` and on, columns `n0` and on.
fn stage_b(z: u32, n0: u32, k0: u32, end: u32, local: u32) {
    for (var e = local; e < SIDE * STEPS / 4u; e += THREADS) {
        if (B_MODE == 2u) {
            let n = e % (SIDE / 4u) * 4u;
            let k = e / (SIDE / 4u);
            let v = b_load4(b_column(z, min(n0 + n, max(N, 4u) - 4u)), k0 + k, end);
            for (var j = 0u; j < 4u; j++) {
                tile_b[k * B_STRIDE + n + j] = Element(v[j]);
            }
        } else {
            let across = B_MODE == 0u && B_ROW != 1u;
            let n = select(e / (STEPS / 4u), e % SIDE, across);
            let k = select(e % (STEPS / 4u), e / SIDE, across) * 4u;
            let column = b_column(z, n0 + n);
            var v: vec4f;
            if (B_MODE == 1u) {
                v = b_load4(column, k0 + k, end);
            } else {
                for (var j = 0u; j < 4u; j++) {
                    v[j] = b_load(column, k0 + k + j, end);
                }
            }
            for (var j = 0u; j < 4u; j++) {
                tile_b[(k + j) * B_STRIDE + n] = Element(v[j]);
            }
        }
    }
}

// The epilogue of four columns of a row.
fn finish_quad(acc: vec4f, four: u32, start: u32, n: u32) {
    if (N % 4u == 0u) {
        if (n < N) {
            prepare(start + n);
            epilogue4(start + n, acc, four);
        }
        return;
    }
    var c = acc;
    for (var j = 0u; j < four; j++) {
        if (n + j < N) {
            epilogue(start + n + j, c.x);
        }
        c = c.yzwx;
    }
}

@compute @workgroup_size(THREADS)
fn main(
    @builtin(workgroup_id) group: vec3u,
    @builtin(num_workgroups) groups: vec3u,
    @builtin(local_invocation_index) local: u32,
    @builtin(subgroup_id) subgroup: u32,
    @builtin(num_subgroups) subgroups: u32,
    @builtin(subgroup_invocation_id) lane: u32,
    @builtin(subgroup_size) lanes: u32,
) {
    // The grid of tiles is folded into three dimensions by the host, columns first.
    let column_tiles = (N + SIDE - 1u) / SIDE;
    let row_tiles = (M + SIDE - 1u) / SIDE;
    let tile = (group.z * groups.y + group.y) * groups.x + group.x;
    let split = tile / (column_tiles * row_tiles * Z);
    let z = tile / (column_tiles * row_tiles) % Z;
    let m0 = tile / column_tiles % row_tiles * SIDE;
    let n0 = tile % column_tiles * SIDE;
    if (split >= SPLITS) {
        return;
    }
    let begin = split * K_CHUNK;
    let end = min(begin + K_CHUNK, K);
    let once = min(groups.x, 1u);
    let base = split * OUT_SIZE + z * OUT_BATCH;
    // Subgroups may be larger than the host took them for: then there are fewer, and each does several units. Those that are left over do
    // the last one too, since all of them must multiply, but only its own subgroup stores it.
    for (var first = 0u; first < UNITS; first += subgroups) {
        for (var e = local; e < SIZE * SIZE; e += THREADS) {
            results[e] = 0.0;
        }
        workgroupBarrier();
        let unit = min(first + subgroup, UNITS - 1u);
        let row = unit / 2u * QUARTER;
        let column = unit % 2u * QUARTER;
        // @begin
        load_matrices(lane, lanes, once);
        // @end
        for (var k0 = begin; k0 < end; k0 += STEPS) {
            stage_a(z, m0, k0, end, local);
            stage_b(z, n0, k0, end, local);
            workgroupBarrier();
            for (var k = 0u; k < STEPS; k += SIZE) {
                // @multiply
                let a0 = (row + 0u) * A_STRIDE + k;
                let b0 = k * B_STRIDE + column + 0u;
                let a1 = (row + 16u) * A_STRIDE + k;
                let b1 = k * B_STRIDE + column + 16u;
                let a = array(a0, a1);
                let b = array(b0, b1);
                multiply_add(a, b, lane, lanes, once);
                // @end
            }
            workgroupBarrier();
        }
        // All have read the zeros.
        workgroupBarrier();
        for (var i = 0u; i < BLOCKS * BLOCKS * once; i++) {
            if (first + subgroup < UNITS) {
                let at = unit * SIZE * SIZE;
                // @store
                store_matrix(i, at, lane, lanes);
                // @end
            }
            workgroupBarrier();
            for (var e = local; e < UNITS * SIZE * SIZE / 4u; e += THREADS) {
                let u = e / (SIZE * SIZE / 4u);
                let m = m0 + u / 2u * QUARTER + i / BLOCKS * SIZE + e / (SIZE / 4u) % SIZE;
                let n = n0 + u % 2u * QUARTER + i % BLOCKS * SIZE + e % (SIZE / 4u) * 4u;
                if (u >= first && u < first + subgroups && m < M) {
                    let j = e * 4u;
                    let acc = vec4f(results[j], results[j + 1u], results[j + 2u], results[j + 3u]);
                    finish_quad(acc, 4u * once, base + m * OUT_ROW, n);
                }
            }
            workgroupBarrier();
        }
    }
}
