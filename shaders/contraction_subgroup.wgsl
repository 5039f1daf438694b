// Matrix product and the three convolutions without workgroup memory: each subgroup of 8 lanes holds a tile of up to
// 32 rows and 32 columns in registers and passes rows between its lanes. Fastest on software devices, where barriers and
// memory accesses cost most.

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

// 8-row blocks of a subgroup's tile: 1, 2 or 4.
override BLOCKS: u32 = 4u;
// Subgroups of a workgroup, below one another.
override SUBGROUPS: u32 = 2u;

// Eight rows of the tile, one vector of four columns in each lane.
struct Block {
    r0: vec4f,
    r1: vec4f,
    r2: vec4f,
    r3: vec4f,
    r4: vec4f,
    r5: vec4f,
    r6: vec4f,
    r7: vec4f,
}

// Four steps of `k`: lane `i` of `rows` holds those of row `i`, column `j` of `columns` step `j`.
fn multiply(c: Block, rows: vec4f, columns: mat4x4f) -> Block {
    return Block(
        c.r0 + columns * subgroupBroadcast(rows, 0u),
        c.r1 + columns * subgroupBroadcast(rows, 1u),
        c.r2 + columns * subgroupBroadcast(rows, 2u),
        c.r3 + columns * subgroupBroadcast(rows, 3u),
        c.r4 + columns * subgroupBroadcast(rows, 4u),
        c.r5 + columns * subgroupBroadcast(rows, 5u),
        c.r6 + columns * subgroupBroadcast(rows, 6u),
        c.r7 + columns * subgroupBroadcast(rows, 7u),
    );
}

// Four steps of one row of each lane.
fn along_k(row: Row, k: u32, end: u32) -> vec4f {
    if (A_MODE == 1u) {
        return a_load4(row, k, end);
    }
    return vec4f(a_load(row, k, end), a_load(row, k + 1u, end), a_load(row, k + 2u, end), a_load(row, k + 3u, end));
}

// Four steps of four rows of each lane.
fn along_m(row: Row, k: u32, end: u32) -> mat4x4f {
    let steps = mat4x4f(
        a_load4(row, k, end),
        a_load4(row, k + 1u, end),
        a_load4(row, k + 2u, end),
        a_load4(row, k + 3u, end),
    );
    return transpose(steps);
}

fn load_columns(columns: vec4u, k: u32, end: u32) -> mat4x4f {
    if (B_MODE == 2u) {
        return mat4x4f(
            b_load4(columns.x, k, end),
            b_load4(columns.x, k + 1u, end),
            b_load4(columns.x, k + 2u, end),
            b_load4(columns.x, k + 3u, end),
        );
    }
    if (B_MODE == 1u) {
        let steps = mat4x4f(
            b_load4(columns.x, k, end),
            b_load4(columns.y, k, end),
            b_load4(columns.z, k, end),
            b_load4(columns.w, k, end),
        );
        return transpose(steps);
    }
    return mat4x4f(
        elements(columns, k, end),
        elements(columns, k + 1u, end),
        elements(columns, k + 2u, end),
        elements(columns, k + 3u, end),
    );
}

fn elements(columns: vec4u, k: u32, end: u32) -> vec4f {
    return vec4f(
        b_load(columns.x, k, end),
        b_load(columns.y, k, end),
        b_load(columns.z, k, end),
        b_load(columns.w, k, end),
    );
}

// The epilogue of four columns of a row.
fn finish4(acc: vec4f, four: u32, start: u32, n: u32) {
    if (N % 4u == 0u) {
        if (n < N) {
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

// The epilogue of a block. It stands once: loops whose bounds are only known when run are not unrolled, and values move through
// registers because compilers turn arrays under a changing index into long chains of branches.
fn finish(block: Block, once: u32, base: u32, row: u32, n: u32) {
    var c = block;
    let step = select(1u, 4u, A_MODE == 2u);
    for (var i = 0u; i < 8u * once; i++) {
        let m = row + i * step;
        if (m < M) {
            finish4(c.r0, 4u * once, base + m * OUT_ROW, n);
        }
        c = Block(c.r1, c.r2, c.r3, c.r4, c.r5, c.r6, c.r7, c.r0);
    }
}

@compute @workgroup_size(8, SUBGROUPS)
fn main(
    @builtin(workgroup_id) group: vec3u,
    @builtin(num_workgroups) groups: vec3u,
    @builtin(local_invocation_id) local: vec3u,
) {
    let lane = local.x;
    // The grid of tiles is folded into three dimensions by the host, columns first.
    let column_tiles = (N + 31u) / 32u;
    let row_tiles = (M + 8u * BLOCKS * SUBGROUPS - 1u) / (8u * BLOCKS * SUBGROUPS);
    let tile = (group.z * groups.y + group.y) * groups.x + group.x;
    let split = tile / (column_tiles * row_tiles * Z);
    let z = tile / (column_tiles * row_tiles) % Z;
    let m = (tile / column_tiles % row_tiles * SUBGROUPS + local.y) * 8u * BLOCKS;
    let n0 = tile % column_tiles * 32u;
    if (split >= SPLITS || m >= M) {
        return;
    }
    let begin = split * K_CHUNK;
    let end = min(begin + K_CHUNK, K);
    let n = n0 + 4u * lane;
    var columns = vec4u(b_column(z, min(n, max(N, 4u) - 4u)));
    if (B_MODE != 2u) {
        columns = vec4u(b_column(z, n), b_column(z, n + 1u), b_column(z, n + 2u), b_column(z, n + 3u));
    }
    var first = m + lane;
    if (A_MODE == 2u) {
        first = min(m + 4u * lane, max(M, 4u) - 4u);
    }
    let row0 = a_row(z, first);
    let row1 = a_row(z, m + 8u + lane);
    let row2 = a_row(z, m + 16u + lane);
    let row3 = a_row(z, m + 24u + lane);
    var c0: Block;
    var c1: Block;
    var c2: Block;
    var c3: Block;
    for (var k = begin; k < end; k += 4u) {
        let right = load_columns(columns, k, end);
        if (A_MODE == 2u) {
            let low = along_m(row0, k, end);
            c0 = multiply(c0, low[0], right);
            c1 = multiply(c1, low[1], right);
            c2 = multiply(c2, low[2], right);
            c3 = multiply(c3, low[3], right);
        } else {
            c0 = multiply(c0, along_k(row0, k, end), right);
            if (BLOCKS > 1u) {
                c1 = multiply(c1, along_k(row1, k, end), right);
            }
            if (BLOCKS > 2u) {
                c2 = multiply(c2, along_k(row2, k, end), right);
                c3 = multiply(c3, along_k(row3, k, end), right);
            }
        }
    }
    let once = min(groups.x, 1u);
    let base = split * OUT_SIZE + z * OUT_BATCH;
    prepare(z * OUT_BATCH + min(n, max(N, 4u) - 4u));
    for (var i = 0u; i < BLOCKS * once; i++) {
        finish(c0, once, base, m + select(8u * i, i, A_MODE == 2u), n);
        c0 = c1;
        c1 = c2;
        c2 = c3;
    }
}
