// Rows added into a table by index, in any order: for more indices than comparing all pairs is worth. The result holds
// zeros before.

@group(0) @binding(0) var<storage, read> indices: array<i32>;
@group(0) @binding(1) var<storage, read> source: array<u32>;
@group(0) @binding(2) var<storage, read_write> out: array<atomic<u32>>;

// Elements of the source, elements of a row, rows of the result.
override SIZE: u32 = 1u;
override WIDTH: u32 = 1u;
override ROWS: u32 = 1u;
// Elements are floats, else integers.
override FLOAT: bool = true;

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) group: vec3u,
    @builtin(num_workgroups) groups: vec3u,
    @builtin(local_invocation_index) local: u32,
) {
    let i = ((group.z * groups.y + group.y) * groups.x + group.x) * 64u + local;
    if (i >= SIZE) {
        return;
    }
    let row = indices[i / WIDTH];
    if (row < 0 || u32(row) >= ROWS) {
        return;
    }
    let at = u32(row) * WIDTH + i % WIDTH;
    let term = source[i];
    if (!FLOAT) {
        atomicAdd(&out[at], term);
        return;
    }
    var seen = atomicLoad(&out[at]);
    loop {
        let sum = bitcast<u32>(bitcast<f32>(seen) + bitcast<f32>(term));
        let result = atomicCompareExchangeWeak(&out[at], seen, sum);
        if (result.exchanged) {
            break;
        }
        seen = result.old_value;
    }
}
