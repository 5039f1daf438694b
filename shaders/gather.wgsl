// Rows of a table by index. Elements move as bit patterns.

@group(0) @binding(0) var<storage, read> table: array<u32>;
@group(0) @binding(1) var<storage, read> indices: array<i32>;
@group(0) @binding(2) var<storage, read_write> out: array<u32>;

// Words of the result, elements of a row, rows of the table.
override SIZE: u32 = 1u;
override WIDTH: u32 = 1u;
override ROWS: u32 = 1u;
override COUNT: u32 = 1u;
// Elements in a word: 1, or 2 of 16 bits.
override PACKED: u32 = 1u;
// The bit pattern of an element whose index is out of range.
override MISSING: u32 = 0u;

fn element(i: u32) -> u32 {
    let row = indices[min(i / WIDTH, COUNT - 1u)];
    let inside = row >= 0 && u32(row) < ROWS;
    let at = u32(select(0, row, inside)) * WIDTH + i % WIDTH;
    var bits = table[at / PACKED];
    if (PACKED == 2u) {
        bits = (bits >> (at % 2u * 16u)) & 0xffffu;
    }
    return select(MISSING, bits, inside);
}

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
    if (PACKED == 2u) {
        out[index] = element(2u * index) | (element(2u * index + 1u) << 16u);
    } else {
        out[index] = element(index);
    }
}
