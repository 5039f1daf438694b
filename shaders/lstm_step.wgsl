// One time step of an LSTM: an invocation owns one unit in four batch rows.

@group(0) @binding(0) var<storage, read> z: array<f32>;
@group(0) @binding(1) var<storage, read> recurrent: array<f32>;
@group(0) @binding(2) var<storage, read> h0: array<f32>;
@group(0) @binding(3) var<storage, read> c0: array<f32>;
@group(0) @binding(4) var<storage, read_write> out: array<f32>;

// Batch size, time steps, units.
override BATCH: u32 = 1u;
override STEPS: u32 = 1u;
override UNITS: u32 = 1u;

// Workgroups along x that compute. How many more there are is the number of the step, so that all steps are one pipeline.
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

// The four batch rows of this invocation; rows past the end repeat the last and are not written.
fn four_rows(group: u32) -> vec4u {
    return min(group * 4u + vec4u(0u, 1u, 2u, 3u), vec4u(BATCH - 1u));
}

// One cell in four batch rows: writes `h, c, i, f, g, o` and returns `h`.
fn cell(group: u32, t: u32, unit: u32, i_in: vec4f, f_in: vec4f, g_in: vec4f, o_in: vec4f) -> vec4f {
    let n = four_rows(group);
    var before: vec4f;
    for (var r = 0u; r < 4u; r++) {
        if (t == 0u) {
            before[r] = c0[n[r] * UNITS + unit];
        } else {
            // This same invocation wrote it.
            before[r] = out[((n[r] * STEPS + t - 1u) * 6u + 1u) * UNITS + unit];
        }
    }
    let i = sigmoid4(i_in);
    let f = sigmoid4(f_in);
    let g = tanh4(g_in);
    let o = sigmoid4(o_in);
    let c = f * before + i * g;
    let h = o * tanh4(c);
    for (var r = 0u; r < 4u; r++) {
        if (group * 4u + r < BATCH) {
            let at = (n[r] * STEPS + t) * 6u * UNITS + unit;
            out[at] = h[r];
            out[at + UNITS] = c[r];
            out[at + 2u * UNITS] = i[r];
            out[at + 3u * UNITS] = f[r];
            out[at + 4u * UNITS] = g[r];
            out[at + 5u * UNITS] = o[r];
        }
    }
    return h;
}

fn input4(n: vec4u, t: u32, gate: u32, unit: u32) -> vec4f {
    let at = (n * STEPS + t) * 4u * UNITS + gate * UNITS + unit;
    return vec4f(z[at.x], z[at.y], z[at.z], z[at.w]);
}

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) id: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) local: u32) {
    let t = groups.x - TILES;
    let unit = id.x * 64u + local;
    if (id.x >= TILES || unit >= UNITS) {
        return;
    }
    let group = id.y;
    let n = four_rows(group);
    var i = input4(n, t, 0u, unit);
    var f = input4(n, t, 1u, unit);
    var g = input4(n, t, 2u, unit);
    var o = input4(n, t, 3u, unit);
    for (var k = 0u; k < UNITS; k++) {
        var x: vec4f;
        if (t == 0u) {
            let at = n * UNITS + k;
            x = vec4f(h0[at.x], h0[at.y], h0[at.z], h0[at.w]);
        } else {
            let at = (n * STEPS + t - 1u) * 6u * UNITS + k;
            x = vec4f(out[at.x], out[at.y], out[at.z], out[at.w]);
        }
        let w = k * 4u * UNITS + unit;
        i += x * recurrent[w];
        f += x * recurrent[w + UNITS];
        g += x * recurrent[w + 2u * UNITS];
        o += x * recurrent[w + 3u * UNITS];
    }
    _ = cell(group, t, unit, i, f, g, o);
}
