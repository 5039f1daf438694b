// The three convolutions, one result element for each invocation: for depthwise and other narrow groups.

@group(0) @binding(0) var<storage, read> a: array<f32>;
@group(0) @binding(1) var<storage, read> b: array<f32>;

fn a_at(i: u32) -> f32 { return a[i]; }
fn b_at(i: u32) -> f32 { return b[i]; }

// @bindings
@group(0) @binding(2) var<storage, read_write> out: array<f32>;
// @end

// 1 forward, 2 input gradient, 3 kernel gradient.
override PASS: u32 = 1u;
override SIZE: u32 = 1u;
override SPLITS: u32 = 1u;
// Output pixels of one split of the kernel gradient.
override CHUNK: u32 = 1u;
override BATCH: u32 = 1u;
override INPUT_D: u32 = 1u;
override INPUT_H: u32 = 1u;
override INPUT_W: u32 = 1u;
override OUTPUT_D: u32 = 1u;
override OUTPUT_H: u32 = 1u;
override OUTPUT_W: u32 = 1u;
override KERNEL_D: u32 = 1u;
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
override GROUPS: u32 = 1u;
// Input channels and output channels of one group.
override CIN: u32 = 1u;
override COUT: u32 = 1u;

// @epilogue
fn epilogue(index: u32, acc: f32) {
    out[index] = acc;
}
// @end

// Position along the axes of `p`, an element number without channels: `(image, d, h, w)`.
fn split_pixel(p: u32, d: u32, h: u32, w: u32) -> vec4i {
    return vec4i(vec4u(p / (w * h * d), p / (w * h) % d, p / w % h, p % w));
}

fn tap(t: u32) -> vec3i {
    return vec3i(vec3u(t / (KERNEL_W * KERNEL_H), t / KERNEL_W % KERNEL_H, t % KERNEL_W));
}

// The input pixel that a tap of an output pixel reads; -1 outside.
fn input_pixel(at: vec4i, t: vec3i) -> i32 {
    let p = at.yzw * vec3i(STRIDE_D, STRIDE_H, STRIDE_W) - vec3i(PAD_D, PAD_H, PAD_W)
        + t * vec3i(DILATION_D, DILATION_H, DILATION_W);
    let size = vec3i(vec3u(INPUT_D, INPUT_H, INPUT_W));
    let inside = all(p >= vec3i(0)) && all(p < size);
    return select(-1, ((at.x * size.x + p.x) * size.y + p.y) * size.z + p.z, inside);
}

// The output pixel whose tap reads an input pixel; -1 if there is none.
fn output_pixel(at: vec4i, t: vec3i) -> i32 {
    let stride = vec3i(STRIDE_D, STRIDE_H, STRIDE_W);
    let p = at.yzw + vec3i(PAD_D, PAD_H, PAD_W) - t * vec3i(DILATION_D, DILATION_H, DILATION_W);
    let q = p / stride;
    let size = vec3i(vec3u(OUTPUT_D, OUTPUT_H, OUTPUT_W));
    let inside = all(p >= vec3i(0)) && all(q * stride == p) && all(q < size);
    return select(-1, ((at.x * size.x + q.x) * size.y + q.y) * size.z + q.z, inside);
}

fn forward(index: u32) -> f32 {
    let oc = index % (GROUPS * COUT);
    let group = oc / COUT;
    let at = split_pixel(index / (GROUPS * COUT), OUTPUT_D, OUTPUT_H, OUTPUT_W);
    var acc = 0.0;
    for (var t = 0u; t < KERNEL_D * KERNEL_H * KERNEL_W; t++) {
        let p = input_pixel(at, tap(t));
        if (p >= 0) {
            let x = u32(p) * (GROUPS * CIN) + group * CIN;
            for (var c = 0u; c < CIN; c++) {
                acc += a_at(x + c) * b_at((t * CIN + c) * (GROUPS * COUT) + oc);
            }
        }
    }
    return acc;
}

fn input_grad(index: u32) -> f32 {
    let channel = index % (GROUPS * CIN);
    let group = channel / CIN;
    let c = channel % CIN;
    let at = split_pixel(index / (GROUPS * CIN), INPUT_D, INPUT_H, INPUT_W);
    var acc = 0.0;
    for (var t = 0u; t < KERNEL_D * KERNEL_H * KERNEL_W; t++) {
        let p = output_pixel(at, tap(t));
        if (p >= 0) {
            let dy = u32(p) * (GROUPS * COUT) + group * COUT;
            let w = (t * CIN + c) * (GROUPS * COUT) + group * COUT;
            for (var o = 0u; o < COUT; o++) {
                acc += a_at(dy + o) * b_at(w + o);
            }
        }
    }
    return acc;
}

fn kernel_grad(index: u32, split: u32) -> f32 {
    let oc = index % (GROUPS * COUT);
    let channel = oc / COUT * CIN + index / (GROUPS * COUT) % CIN;
    let t = tap(index / (GROUPS * COUT * CIN));
    let pixels = BATCH * OUTPUT_D * OUTPUT_H * OUTPUT_W;
    let end = min((split + 1u) * CHUNK, pixels);
    var acc = 0.0;
    for (var o = split * CHUNK; o < end; o++) {
        let p = input_pixel(split_pixel(o, OUTPUT_D, OUTPUT_H, OUTPUT_W), t);
        if (p >= 0) {
            acc += a_at(u32(p) * (GROUPS * CIN) + channel) * b_at(o * (GROUPS * COUT) + oc);
        }
    }
    return acc;
}

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) group: vec3u,
    @builtin(num_workgroups) groups: vec3u,
    @builtin(local_invocation_index) local: u32,
) {
    let flat = ((group.z * groups.y + group.y) * groups.x + group.x) * 64u + local;
    if (flat >= SIZE * SPLITS) {
        return;
    }
    if (PASS == 1u) {
        epilogue(flat, forward(flat));
    } else if (PASS == 2u) {
        epilogue(flat, input_grad(flat));
    } else {
        epilogue(flat, kernel_grad(flat % SIZE, flat / SIZE));
    }
}
