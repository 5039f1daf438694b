// Rows added into a table by index, always in the same order: the workgroup of the first occurrence of an index adds up
// all of its occurrences. Phase 0 writes the zeros before.
alias Elem = f32;

@group(0) @binding(0) var<storage, read> indices: array<i32>;
@group(0) @binding(1) var<storage, read> source: array<Elem>;
@group(0) @binding(2) var<storage, read_write> out: array<Elem>;

override PHASE: u32 = 0u;
// Elements of the result, elements of a row, rows of the result, number of indices.
override SIZE: u32 = 1u;
override WIDTH: u32 = 1u;
override ROWS: u32 = 1u;
override COUNT: u32 = 1u;

var<workgroup> earlier: atomic<u32>;

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) group: vec3u,
    @builtin(num_workgroups) groups: vec3u,
    @builtin(local_invocation_index) local: u32,
) {
    let i = (group.z * groups.y + group.y) * groups.x + group.x;
    if (PHASE == 0u) {
        if (i * 64u + local < SIZE) {
            out[i * 64u + local] = Elem();
        }
        return;
    }
    if (i >= COUNT) {
        return;
    }
    let row = indices[i];
    if (local == 0u) {
        atomicStore(&earlier, 0u);
    }
    workgroupBarrier();
    for (var j = local; j < i; j += 64u) {
        if (indices[j] == row) {
            atomicStore(&earlier, 1u);
        }
    }
    workgroupBarrier();
    if (row < 0 || u32(row) >= ROWS || atomicLoad(&earlier) != 0u) {
        return;
    }
    for (var column = local; column < WIDTH; column += 64u) {
        var acc = source[i * WIDTH + column];
        for (var j = i + 1u; j < COUNT; j++) {
            if (indices[j] == row) {
                acc += source[j * WIDTH + column];
            }
        }
        out[u32(row) * WIDTH + column] = acc;
    }
}
