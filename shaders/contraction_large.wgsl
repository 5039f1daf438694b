// Matrix product and the three convolutions for large results on a real GPU: tiles of 128 x 128 in 16 KiB of workgroup memory, 8 x 8 of
// them in the registers of each invocation, whole vectors everywhere, and the next tiles on their way while these are multiplied.

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

// Steps of `k` held in workgroup memory.
const STEPS: u32 = 16u;

// Vectors of four rows, or four columns, of each step.
var<workgroup> tile_a: array<vec4f, 512>;
var<workgroup> tile_b: array<vec4f, 512>;

// Where a vector lies. Neighbouring invocations may write one vector of different steps: this spreads them over the banks.
fn slot(k: u32, quad: u32) -> u32 {
    return k * 32u + (quad ^ (k / 4u * 2u));
}

// Four steps of four rows, one vector for each step.
fn fetch_a(r0: Row, r1: Row, r2: Row, r3: Row, k: u32, end: u32) -> mat4x4f {
    if (A_MODE == 2u) {
        return mat4x4f(
            a_load4(r0, k, end),
            a_load4(r0, k + 1u, end),
            a_load4(r0, k + 2u, end),
            a_load4(r0, k + 3u, end),
        );
    }
    if (A_MODE == 1u) {
        let rows = mat4x4f(a_load4(r0, k, end), a_load4(r1, k, end), a_load4(r2, k, end), a_load4(r3, k, end));
        return transpose(rows);
    }
    var steps: mat4x4f;
    for (var i = 0u; i < 4u; i++) {
        let at = k + i;
        steps[i] = vec4f(a_load(r0, at, end), a_load(r1, at, end), a_load(r2, at, end), a_load(r3, at, end));
    }
    return steps;
}

// Four steps of four columns, one vector for each step.
fn fetch_b(columns: vec4u, k: u32, end: u32) -> mat4x4f {
    if (B_MODE == 2u) {
        return mat4x4f(
            b_load4(columns.x, k, end),
            b_load4(columns.x, k + 1u, end),
            b_load4(columns.x, k + 2u, end),
            b_load4(columns.x, k + 3u, end),
        );
    }
    if (B_MODE == 1u) {
        let rows = mat4x4f(
            b_load4(columns.x, k, end),
            b_load4(columns.y, k, end),
            b_load4(columns.z, k, end),
            b_load4(columns.w, k, end),
        );
        return transpose(rows);
    }
    var steps: mat4x4f;
    for (var i = 0u; i < 4u; i++) {
        steps[i] = vec4f(
            b_load(columns.x, k + i, end),
            b_load(columns.y, k + i, end),
            b_load(columns.z, k + i, end),
            b_load(columns.w, k + i, end),
        );
    }
    return steps;
}

// Four rows of eight columns.
struct Rows {
    left: mat4x4f,
    right: mat4x4f,
}

fn multiply(c: Rows, rows: vec4f, left: vec4f, right: vec4f) -> Rows {
    return Rows(
        mat4x4f(
            fma(vec4f(rows.x), left, c.left[0]),
            fma(vec4f(rows.y), left, c.left[1]),
            fma(vec4f(rows.z), left, c.left[2]),
            fma(vec4f(rows.w), left, c.left[3]),
        ),
        mat4x4f(
            fma(vec4f(rows.x), right, c.right[0]),
            fma(vec4f(rows.y), right, c.right[1]),
            fma(vec4f(rows.z), right, c.right[2]),
            fma(vec4f(rows.w), right, c.right[3]),
        ),
    );
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

@compute @workgroup_size(16, 16)
fn main(
    @builtin(workgroup_id) group: vec3u,
    @builtin(num_workgroups) groups: vec3u,
    @builtin(local_invocation_id) id: vec3u,
    @builtin(local_invocation_index) local: u32,
) {
    // The grid of tiles is folded into three dimensions by the host, columns first.
    let column_tiles = (N + 127u) / 128u;
    let row_tiles = (M + 127u) / 128u;
    let tile = (group.z * groups.y + group.y) * groups.x + group.x;
    let split = tile / (column_tiles * row_tiles * Z);
    let z = tile / (column_tiles * row_tiles) % Z;
    let m0 = tile / column_tiles % row_tiles * 128u;
    let n0 = tile % column_tiles * 128u;
    if (split >= SPLITS) {
        return;
    }
    let begin = split * K_CHUNK;
    let end = min(begin + K_CHUNK, K);

    // The first half of the invocations brings `a`, the second `b`: four steps of four rows or columns each. Neighbours read along
    // the axis that is contiguous.
    let first = local < 128u;
    let worker = local % 128u;
    let along_k = select(B_MODE == 1u || (B_MODE == 0u && B_ROW == 1u), A_MODE == 1u || (A_MODE == 0u && A_COL == 1u), first);
    let quad = select(worker % 32u, worker / 4u, along_k);
    let step = select(worker / 32u, worker % 4u, along_k) * 4u;
    var r0: Row;
    var r1: Row;
    var r2: Row;
    var r3: Row;
    var columns: vec4u;
    if (first) {
        let m = m0 + quad * 4u;
        r0 = a_row(z, select(m, min(m, max(M, 4u) - 4u), A_MODE == 2u));
        if (A_MODE != 2u) {
            r1 = a_row(z, m + 1u);
            r2 = a_row(z, m + 2u);
            r3 = a_row(z, m + 3u);
        }
    } else {
        let n = n0 + quad * 4u;
        columns = vec4u(b_column(z, select(n, min(n, max(N, 4u) - 4u), B_MODE == 2u)));
        if (B_MODE != 2u) {
            columns = vec4u(columns.x, b_column(z, n + 1u), b_column(z, n + 2u), b_column(z, n + 3u));
        }
    }

    var next: mat4x4f;
    if (begin < end) {
        if (first) {
            next = fetch_a(r0, r1, r2, r3, begin + step, end);
        } else {
            next = fetch_b(columns, begin + step, end);
        }
    }
    // Rows 4y to 4y + 3 of the tile and those 64 below, columns 4x to 4x + 3 and those 64 beside.
    var upper: Rows;
    var lower: Rows;
    for (var k0 = begin; k0 < end; k0 += STEPS) {
        for (var i = 0u; i < 4u; i++) {
            if (first) {
                tile_a[slot(step + i, quad)] = next[i];
            } else {
                tile_b[slot(step + i, quad)] = next[i];
            }
        }
        workgroupBarrier();
        if (k0 + STEPS < end) {
            if (first) {
                next = fetch_a(r0, r1, r2, r3, k0 + STEPS + step, end);
            } else {
                next = fetch_b(columns, k0 + STEPS + step, end);
            }
        }
        for (var k = 0u; k < STEPS; k++) {
            let left = tile_b[slot(k, id.x)];
            let right = tile_b[slot(k, 16u + id.x)];
            upper = multiply(upper, tile_a[slot(k, id.y)], left, right);
            lower = multiply(lower, tile_a[slot(k, 16u + id.y)], left, right);
        }
        workgroupBarrier();
    }

    // It stands once: loops whose bounds are only known when run are not unrolled, and values move through registers because compilers
    // turn arrays under a changing index into long chains of branches.
    let once = min(groups.x, 1u);
    let base = split * OUT_SIZE + z * OUT_BATCH;
    for (var i = 0u; i < 8u * once; i++) {
        let m = m0 + id.y * 4u + i % 4u + i / 4u * 64u;
        var row = upper.left[0];
        for (var j = 0u; j < 2u * once; j++) {
            if (m < M) {
                finish_quad(row, 4u * once, base + m * OUT_ROW, n0 + id.x * 4u + j * 64u);
            }
            row = upper.right[0];
        }
        upper = Rows(
            mat4x4f(upper.left[1], upper.left[2], upper.left[3], lower.left[0]),
            mat4x4f(upper.right[1], upper.right[2], upper.right[3], lower.right[0]),
        );
        lower = Rows(
            mat4x4f(lower.left[1], lower.left[2], lower.left[3], lower.left[0]),
            mat4x4f(lower.right[1], lower.right[2], lower.right[3], lower.right[0]),
        );
    }
}
