//! Rows by index.

use super::sink::{Shared, grain};
use crate::memory::Memory;
use crate::threads::{parallel, threads};
use bytemuck::Pod;
use ibex_core::DType;
use ibex_core::program::{Gather, ScatterAdd};

/// `out[i] = table[index[i]]`.
pub(crate) fn gather(k: &Gather, mem: &Memory) {
    match k.dtype {
        DType::F32 => gather_bits(k, mem, f32::NAN.to_bits()),
        DType::F16 => gather_bits(k, mem, half::f16::NAN.to_bits()),
        DType::BF16 => gather_bits(k, mem, half::bf16::NAN.to_bits()),
        DType::I32 | DType::U32 | DType::Bool => gather_bits(k, mem, 0u32),
    }
}

fn gather_bits<T: Pod + Send + Sync>(k: &Gather, mem: &Memory, outside: T) {
    let &Gather { rows, width, count, .. } = k;
    // SAFETY: the buffers are as declared, and the result is no operand.
    let (table, index, out) =
        unsafe { (mem.slice::<T>(k.table), mem.slice::<i32>(k.index), Shared::new(mem.slice_mut::<T>(k.out))) };
    let each = grain(count, width * 4);
    parallel(count.div_ceil(each), |task| {
        for (i, &row) in index[..count].iter().enumerate().skip(task * each).take(each) {
            // SAFETY: every index has its own row of the result.
            let to = unsafe { out.slice(i * width, width) };
            match usize::try_from(row) {
                Ok(row) if row < rows => to.copy_from_slice(&table[row * width..][..width]),
                _ => to.fill(outside),
            }
        }
    });
}

/// `out = 0; out[index[i]] += source[i]`, in order of `i` whatever the number of threads.
pub(crate) fn scatter_add(k: &ScatterAdd, mem: &Memory) {
    if k.dtype == DType::F32 {
        scatter_with(k, mem, |a: f32, b| a + b);
    } else {
        scatter_with(k, mem, |a: u32, b| a.wrapping_add(b));
    }
}

fn scatter_with<T: Pod + Send + Sync>(k: &ScatterAdd, mem: &Memory, add: impl Fn(T, T) -> T + Sync) {
    let &ScatterAdd { rows, width, count, .. } = k;
    // SAFETY: the buffers are as declared, and the result is no operand.
    let (source, index, out) =
        unsafe { (mem.slice::<T>(k.source), mem.slice::<i32>(k.index), Shared::new(mem.slice_mut::<T>(k.out))) };
    // Each task owns columns of the result where rows are wide, which balances whatever the indices are, and rows of it otherwise.
    let most = if (rows + count) * width < 1 << 14 { 1 } else { threads() };
    let by_columns = width >= 16 * most;
    let tasks = if by_columns { most } else { most.min(rows.max(1)) };
    parallel(tasks, |task| {
        let cut = |n: usize| n * task / tasks..n * (task + 1) / tasks;
        let (mine, columns) = if by_columns { (0..rows, cut(width)) } else { (cut(rows), 0..width) };
        if columns.len() == width {
            // SAFETY: rows of this task alone.
            unsafe { out.slice(mine.start * width, mine.len() * width) }.fill(T::zeroed());
        } else {
            for row in mine.clone() {
                // SAFETY: columns of this task alone.
                unsafe { out.slice(row * width + columns.start, columns.len()) }.fill(T::zeroed());
            }
        }
        for (i, &row) in index[..count].iter().enumerate() {
            if let Ok(row) = usize::try_from(row)
                && mine.contains(&row)
            {
                // SAFETY: rows and columns of this task alone.
                let to = unsafe { out.slice(row * width + columns.start, columns.len()) };
                for (o, v) in to.iter_mut().zip(&source[i * width + columns.start..]) {
                    *o = add(*o, *v);
                }
            }
        }
    });
}
