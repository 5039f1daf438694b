// One time step of the gradient of an LSTM, last step first: an invocation owns one unit in four batch rows.

@group(0) @binding(0) var<storage, read> forward: array<f32>;
// Transposed: `(4*units, units)`.
@group(0) @binding(1) var<storage, read> recurrent: array<f32>;
@group(0) @binding(2) var<storage, read> c0: array<f32>;
@group(0) @binding(3) var<storage, read> dh: array<f32>;
@group(0) @binding(4) var<storage, read> dc: array<f32>;
@group(0) @binding(5) var<storage, read_write> out: array<f32>;

// Batch size, time steps, units.
override BATCH: u32 = 1u;
override STEPS: u32 = 1u;
override UNITS: u32 = 1u;

// Workgroups along x that compute. How many more there are counts the steps, so that all steps are one pipeline.
override TILES: u32 = 1u;

// Neither overflows, whatever the driver makes of an infinite `exp`.
fn sigmoid4(x: vec4f) -> vec4f {
    let e = exp(-abs(x));
    return select(e, vec4f(1.0), x >= vec4f(0.0)) / (1.0 + e);
}

fn tanh4(x: vec4f) -> vec4f {
    let e = exp(-2.0 * abs(x));
    let far = sign(x) * (1.0 - e) / (1.0 + e);
    // The difference above loses digits near zero.
    let s = x * x;
    let near = x * (1.0 + s * (-1.0 / 3.0 + s * (2.0 / 15.0 + s * (-17.0 / 315.0 + s * (62.0 / 2835.0)))));
    return select(far, near, abs(x) < vec4f(0.25));
}

// Gradients from outside the recurrence; without them the bindings hold something else.
override HAS_DH: bool = true;
override HAS_DC: bool = true;

// The gradients of the inputs of the four gates, in four batch rows.
struct Gates {
    i: vec4f,
    f: vec4f,
    g: vec4f,
    o: vec4f,
}

// The four batch rows of this invocation; rows past the end repeat the last and are not written.
fn four_rows(group: u32) -> vec4u {
    return min(group * 4u + vec4u(0u, 1u, 2u, 3u), vec4u(BATCH - 1u));
}

fn saved(n: vec4u, t: u32, what: u32, unit: u32) -> vec4f {
    let at = (n * STEPS + t) * 6u * UNITS + what * UNITS + unit;
    return vec4f(forward[at.x], forward[at.y], forward[at.z], forward[at.w]);
}

// One cell in four batch rows. `recurred` is the gradient of `h` from the step after.
fn cell_grad(group: u32, t: u32, unit: u32, recurred: vec4f) -> Gates {
    let n = four_rows(group);
    let at = (n * STEPS + t) * UNITS + unit;
    var dh_t = recurred;
    if (HAS_DH) {
        dh_t += vec4f(dh[at.x], dh[at.y], dh[at.z], dh[at.w]);
    }
    var dc_t = vec4f();
    if (HAS_DC) {
        dc_t = vec4f(dc[at.x], dc[at.y], dc[at.z], dc[at.w]);
    }
    if (t + 1u < STEPS) {
        // This same invocation wrote it.
        let after = ((n * STEPS + t + 1u) * 5u + 4u) * UNITS + unit;
        dc_t += vec4f(out[after.x], out[after.y], out[after.z], out[after.w]);
    }
    var before: vec4f;
    if (t == 0u) {
        let first = n * UNITS + unit;
        before = vec4f(c0[first.x], c0[first.y], c0[first.z], c0[first.w]);
    } else {
        before = saved(n, t - 1u, 1u, unit);
    }
    let i = saved(n, t, 2u, unit);
    let f = saved(n, t, 3u, unit);
    let g = saved(n, t, 4u, unit);
    let o = saved(n, t, 5u, unit);
    let squashed = tanh4(saved(n, t, 1u, unit));
    dc_t += dh_t * o * (1.0 - squashed * squashed);
    let d = Gates(
        dc_t * g * i * (1.0 - i),
        dc_t * before * f * (1.0 - f),
        dc_t * i * (1.0 - g * g),
        dh_t * squashed * o * (1.0 - o),
    );
    let dc_before = dc_t * f;
    for (var r = 0u; r < 4u; r++) {
        if (group * 4u + r < BATCH) {
            let to = (n[r] * STEPS + t) * 5u * UNITS + unit;
            out[to] = d.i[r];
            out[to + UNITS] = d.f[r];
            out[to + 2u * UNITS] = d.g[r];
            out[to + 3u * UNITS] = d.o[r];
            out[to + 4u * UNITS] = dc_before[r];
        }
    }
    return d;
}

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) id: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) local: u32) {
    let step = groups.x - TILES;
    let unit = id.x * 64u + local;
    if (id.x >= TILES || unit >= UNITS) {
        return;
    }
    let t = STEPS - 1u - step;
    let n = four_rows(id.y);
    var recurred = vec4f();
    if (step > 0u) {
        for (var q = 0u; q < 4u * UNITS; q++) {
            let at = (n * STEPS + t + 1u) * 5u * UNITS + q;
            recurred += vec4f(out[at.x], out[at.y], out[at.z], out[at.w]) * recurrent[q * UNITS + unit];
        }
    }
    _ = cell_grad(id.y, t, unit, recurred);
}
