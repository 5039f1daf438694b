// Pooling and its gradients where channels come in fours, four result elements for each invocation. The gradients gather: each input position looks at
// the windows that cover it, so that nothing is added atomically.

// `x`, or the output gradient of a sum.
@group(0) @binding(0) var<storage, read> a: array<f32>;
// Values of maximum pooling, or the output gradient. Not read by the sums.
@group(0) @binding(1) var<storage, read> b: array<f32>;

fn a_at(i: u32) -> f32 { return a[i]; }
fn a_vec(i: u32) -> vec4f { return vec4f(a_at(i), a_at(i + 1u), a_at(i + 2u), a_at(i + 3u)); }
fn b_at(i: u32) -> f32 { return b[i]; }
fn b_vec(i: u32) -> vec4f { return vec4f(b_at(i), b_at(i + 1u), b_at(i + 2u), b_at(i + 3u)); }

// @bindings
@group(0) @binding(2) var<storage, read_write> out: array<f32>;
// @end

// 0 maximum, 1 its gradient, 2 sum, 3 its gradient.
override PASS: u32 = 0u;
override SIZE: u32 = 1u;
override INPUT_D: i32 = 1;
override INPUT_H: i32 = 1;
override INPUT_W: i32 = 1;
override OUTPUT_D: i32 = 1;
override OUTPUT_H: i32 = 1;
override OUTPUT_W: i32 = 1;
override WINDOW_D: i32 = 1;
override WINDOW_H: i32 = 1;
override WINDOW_W: i32 = 1;
override STRIDE_D: i32 = 1;
override STRIDE_H: i32 = 1;
override STRIDE_W: i32 = 1;
override PAD_D: i32 = 0;
override PAD_H: i32 = 0;
override PAD_W: i32 = 0;
override CHANNELS: i32 = 1;

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

// By bit pattern, since compilers may assume that there are no NaNs.
fn is_nan(x: vec4f) -> vec4<bool> {
    return (bitcast<vec4u>(x) & vec4u(0x7fffffffu)) > vec4u(0x7f800000u);
}

fn input_index(image: i32, at: vec3i, channel: i32) -> i32 {
    return (((image * INPUT_D + at.x) * INPUT_H + at.y) * INPUT_W + at.z) * CHANNELS + channel;
}

fn output_index(image: i32, at: vec3i, channel: i32) -> i32 {
    return (((image * OUTPUT_D + at.x) * OUTPUT_H + at.y) * OUTPUT_W + at.z) * CHANNELS + channel;
}

// First input position of a window that is inside.
fn window_begin(o: vec3i) -> vec3i {
    return max(o * vec3i(STRIDE_D, STRIDE_H, STRIDE_W) - vec3i(PAD_D, PAD_H, PAD_W), vec3i(0));
}

// One past the last.
fn window_end(o: vec3i) -> vec3i {
    let end = o * vec3i(STRIDE_D, STRIDE_H, STRIDE_W) - vec3i(PAD_D, PAD_H, PAD_W)
        + vec3i(WINDOW_D, WINDOW_H, WINDOW_W);
    return min(end, vec3i(INPUT_D, INPUT_H, INPUT_W));
}

// The input elements that a window takes in four channels: the first largest, or the first NaN; -1 if the window is all outside.
fn largest(image: i32, o: vec3i, channel: i32) -> vec4i {
    let begin = window_begin(o);
    let end = window_end(o);
    var best = vec4i(-1);
    var value = vec4f();
    for (var d = begin.x; d < end.x; d++) {
        for (var h = begin.y; h < end.y; h++) {
            for (var w = begin.z; w < end.z; w++) {
                let i = input_index(image, vec3i(d, h, w), channel);
                let x = a_vec(u32(i));
                let take = (best < vec4i(0)) | (!is_nan(value) & (is_nan(x) | (x > value)));
                best = select(best, i + vec4i(0, 1, 2, 3), take);
                value = select(value, x, take);
            }
        }
    }
    return best;
}

fn sum(image: i32, o: vec3i, channel: i32) -> vec4f {
    let begin = window_begin(o);
    let end = window_end(o);
    var acc = vec4f();
    for (var d = begin.x; d < end.x; d++) {
        for (var h = begin.y; h < end.y; h++) {
            for (var w = begin.z; w < end.z; w++) {
                acc += a_vec(u32(input_index(image, vec3i(d, h, w), channel)));
            }
        }
    }
    return acc;
}

// The sum of the output gradients of the windows that cover an input element, or only of those that take it.
fn gradient(image: i32, at: vec3i, channel: i32) -> vec4f {
    let stride = vec3i(STRIDE_D, STRIDE_H, STRIDE_W);
    let window = vec3i(WINDOW_D, WINDOW_H, WINDOW_W);
    let p = at + vec3i(PAD_D, PAD_H, PAD_W);
    // Windows `o` with `o*stride <= p < o*stride + window`.
    let begin = max(p - window + stride, vec3i(0)) / stride;
    let end = min(p / stride + 1, vec3i(OUTPUT_D, OUTPUT_H, OUTPUT_W));
    let own = input_index(image, at, channel) + vec4i(0, 1, 2, 3);
    var acc = vec4f();
    for (var d = begin.x; d < end.x; d++) {
        for (var h = begin.y; h < end.y; h++) {
            for (var w = begin.z; w < end.z; w++) {
                let o = vec3i(d, h, w);
                let i = u32(output_index(image, o, channel));
                if (PASS == 3u) {
                    acc += a_vec(i);
                } else {
                    acc += select(vec4f(), b_vec(i), largest(image, o, channel) == own);
                }
            }
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
    let index = 4u * (((group.z * groups.y + group.y) * groups.x + group.x) * 64u + local);
    if (index >= SIZE) {
        return;
    }
    var size = vec3i(OUTPUT_D, OUTPUT_H, OUTPUT_W);
    if (PASS == 1u || PASS == 3u) {
        size = vec3i(INPUT_D, INPUT_H, INPUT_W);
    }
    let i = i32(index);
    let channel = i % CHANNELS;
    let p = i / CHANNELS;
    let at = vec3i(p / (size.z * size.y) % size.x, p / size.z % size.y, p % size.z);
    let image = p / (size.z * size.y * size.x);
    var result: vec4f;
    if (PASS == 0u) {
        let best = largest(image, at, channel);
        // A window with no input has the value of an empty maximum.
        result = bitcast<vec4f>(vec4u(0xff800000u) + vec4u(min(best, vec4i(0)) + 1));
        for (var j = 0u; j < 4u; j++) {
            if (best[j] >= 0) {
                result[j] = b_at(u32(best[j]));
            }
        }
    } else if (PASS == 2u) {
        result = sum(image, at, channel);
    } else {
        result = gradient(image, at, channel);
    }
    prepare(index);
    epilogue4(index, result, 4u * min(groups.x, 1u));
}
