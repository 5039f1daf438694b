// Sums the partial results of a split contraction in a fixed order, and runs the epilogue.

@group(0) @binding(0) var<storage, read> partial: array<f32>;

// @bindings
@group(0) @binding(1) var<storage, read_write> out: array<f32>;
// @end

override SIZE: u32 = 1u;
override SPLITS: u32 = 0u;

// @epilogue
fn epilogue(index: u32, acc: f32) {
    out[index] = acc;
}
// @end

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) group: vec3u,
    @builtin(num_workgroups) groups: vec3u,
    @builtin(local_invocation_index) local: u32,
) {
    let index = ((group.z * groups.y + group.y) * groups.x + group.x) * 64u + local;
    if (index >= SIZE) {
        return;
    }
    var acc = 0.0;
    for (var split = 0u; split < SPLITS; split++) {
        acc += partial[split * SIZE + index];
    }
    epilogue(index, acc);
}
