// Rows and columns of a matrix exchanged.

@group(0) @binding(0) var<storage, read> a: array<f32>;
@group(0) @binding(1) var<storage, read_write> out: array<f32>;

override ROWS: u32 = 1u;
override COLUMNS: u32 = 1u;

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) group: vec3u,
    @builtin(num_workgroups) groups: vec3u,
    @builtin(local_invocation_index) local: u32,
) {
    let index = ((group.z * groups.y + group.y) * groups.x + group.x) * 64u + local;
    if (index < ROWS * COLUMNS) {
        out[index] = a[index % ROWS * COLUMNS + index / ROWS];
    }
}
