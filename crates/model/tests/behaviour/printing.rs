//! Tensors from literals, and as text.

use ibex::Result;
use ibex::prelude::*;

#[test]
fn arrays_become_tensors() -> Result<()> {
    let cube = Tensor::from([[[1.0], [2.0]], [[3.0], [4.0]], [[5.0], [6.0]]]);
    assert_eq!((&cube.shape()[..], cube.to_vec::<f32>()?), (&[3, 2, 1][..], vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0]));
    let table = Tensor::from([[1, 2, 3], [4, 5, 6]]);
    assert_eq!((&table.shape()[..], table.index(0, 1).to_vec::<i32>()?), (&[2, 3][..], vec![4, 5, 6]));
    let (row, flags) = ([1u32, 2], vec![true, false]);
    assert_eq!(Tensor::from(&row[..]).to_vec::<u32>()?, row);
    assert_eq!(Tensor::from(flags.clone()).to_vec::<bool>()?, flags);
    Ok(())
}

#[test]
fn numbers_in_device_memory_are_read_to_be_printed() -> Result<()> {
    let x = Tensor::from([[1.0, 2.5], [-3.0, 4.0]]);
    let sum = &x + &x;
    assert!(sum.to_string().contains("not computed yet"), "{sum}");
    let sum = sum.eval()?;
    assert_eq!(sum.to_string(), "[[ 2.  5.]\n [-6.  8.]] f32 (2, 2)");
    assert_eq!(format!("{sum:?}"), "Tensor(stored f32 (2, 2))");
    let large = Tensor::iota([40, 30], 0).eval()?;
    assert_eq!(
        large.to_string(),
        "[[ 0  0  0 ...  0  0  0]\n [ 1  1  1 ...  1  1  1]\n [ 2  2  2 ...  2  2  2]\n ...\n [37 37 37 ... 37 37 37]\n \
         [38 38 38 ... 38 38 38]\n [39 39 39 ... 39 39 39]] i32 (40, 30)"
    );
    let double = Function::from_slice(&ibex::default_device()?, |args| {
        assert!(args[0].to_string().contains("traced function"), "{}", args[0]);
        Ok(vec![&args[0] * 2.0])
    });
    assert_eq!(double.call(&[&x])?[0].to_string(), "[[ 2.  5.]\n [-6.  8.]] f32 (2, 2)");
    Ok(())
}
