//! Random augmentations: what they draw, and what they leave as it is.

use crate::common::devices;
use ibex::layers::{Factor, FillMode, Flips, Interpolation, Sampling, affine_transform};
use ibex::prelude::*;
use ibex::{Arg, Plan, Result};

/// The output of a layer, in training or outside of it.
fn run(layer: impl Layer, x: &Tensor, training: bool, device: &Device) -> Result<Vec<f32>> {
    let model = Sequential::new(&x.shape()[1..]).on(device).add(layer);
    let plan =
        Plan::trace(device, &[(x.shape().clone(), x.dtype())], |args| Ok(vec![model.call(&args[0], training)?]))?;
    device.to_vec(&plan.run(&mut [Arg::Tensor(x.clone())])?[0])
}

/// Images of `2 x 3` pixels, all of them alike.
fn images(n: usize) -> Tensor {
    let one = [0.1f32, 0.2, 0.3, 0.4, 0.5, 0.6];
    Tensor::from_vec(one.repeat(n), [n, 2, 3, 1])
}

#[test]
fn flips_are_fair_and_independent() -> Result<()> {
    for device in devices() {
        let got = run(RandomFlip::new(Flips::HorizontalAndVertical), &images(4000), true, &device)?;
        let (plain, across, down, both) = (
            [0.1f32, 0.2, 0.3, 0.4, 0.5, 0.6],
            [0.3, 0.2, 0.1, 0.6, 0.5, 0.4],
            [0.4, 0.5, 0.6, 0.1, 0.2, 0.3],
            [0.6, 0.5, 0.4, 0.3, 0.2, 0.1],
        );
        let kinds = [plain, across, down, both].map(|kind| got.chunks(6).filter(|image| *image == kind).count());
        assert_eq!(kinds.iter().sum::<usize>(), 4000, "each image is one of the four: {kinds:?}");
        // Five standard deviations of 4000 throws.
        assert!(kinds.iter().all(|count| count.abs_diff(1000) < 140), "{kinds:?}");
        let same = run(RandomFlip::new(Flips::Horizontal), &images(3), false, &device)?;
        assert_eq!(same, images(3).to_vec::<f32>()?);
    }
    Ok(())
}

#[test]
fn crops_are_everywhere() -> Result<()> {
    for device in devices() {
        let got = run(RandomCrop::new(1, 2), &images(2000), true, &device)?;
        for (row, column) in [(0, 0), (0, 1), (1, 0), (1, 1)] {
            let first = 0.1 + 0.3 * row as f32 + 0.1 * column as f32;
            let count =
                got.chunks(2).filter(|c| (c[0] - first).abs() < 1e-6 && (c[1] - first - 0.1).abs() < 1e-6).count();
            assert!(count.abs_diff(500) < 100, "{row}, {column}: {count}");
        }
        // Outside of training the middle, of the same size.
        assert_eq!(run(RandomCrop::new(2, 2), &images(2), false, &device)?.len(), 8);
    }
    Ok(())
}

#[test]
fn every_image_has_its_own_brightness_and_contrast() -> Result<()> {
    for device in devices() {
        let x = Tensor::full([1000, 1, 2, 1], 100.0, DType::F32);
        let got = run(RandomBrightness::new((-0.1, 0.3)), &x, true, &device)?;
        let added: Vec<f32> = got.chunks(2).map(|image| image[0] - 100.0).collect();
        assert!(got.chunks(2).all(|image| image[0] == image[1]), "one number for an image");
        assert!(added.iter().all(|&a| (-25.51..=76.51).contains(&a)));
        let mean = added.iter().sum::<f32>() / 1000.0;
        assert!((mean - 25.5).abs() < 5.0, "{mean}");

        let x = Tensor::from_vec([90f32, 110.0].repeat(1000), [1000, 1, 2, 1]);
        let got = run(RandomContrast::new(0.5), &x, true, &device)?;
        let contrasts: Vec<f32> = got.chunks(2).map(|image| (image[1] - image[0]) / 20.0).collect();
        assert!(got.chunks(2).all(|image| (image[0] + image[1] - 200.0).abs() < 1e-3), "the mean stays");
        assert!(contrasts.iter().all(|c| (0.4999..1.5001).contains(c)));
        let low = contrasts.iter().filter(|&&c| c < 1.0).count();
        assert!(low.abs_diff(500) < 80, "{low}");
    }
    Ok(())
}

#[test]
fn the_unit_matrix_changes_nothing_and_whole_pixels_are_exact() -> Result<()> {
    let x = images(2);
    for fill in [FillMode::Reflect, FillMode::Constant, FillMode::Wrap, FillMode::Nearest] {
        for sampling in [Sampling::Bilinear, Sampling::Nearest] {
            let unit = Tensor::from_vec([1f32, 0.0, 0.0, 0.0, 1.0, 0.0].repeat(2), [2, 6]);
            let same = affine_transform(&x, &unit, sampling, fill, 9.0)?.to_vec::<f32>()?;
            assert_eq!(same, x.to_vec::<f32>()?);
            let moved = Tensor::from_vec([1f32, 0.0, 2.0, 0.0, 1.0, 0.0].repeat(2), [2, 6]);
            let moved = affine_transform(&x, &moved, sampling, fill, 9.0)?.to_vec::<f32>()?;
            let want = match fill {
                FillMode::Reflect => [0.3, 0.3, 0.2, 0.6, 0.6, 0.5],
                FillMode::Constant => [0.3, 9.0, 9.0, 0.6, 9.0, 9.0],
                FillMode::Wrap => [0.3, 0.1, 0.2, 0.6, 0.4, 0.5],
                FillMode::Nearest => [0.3, 0.3, 0.3, 0.6, 0.6, 0.6],
            };
            assert_eq!(moved[..6], want, "{fill:?} {sampling:?}");
        }
    }
    let error = affine_transform(&x, &Tensor::zeros([2, 8], DType::F32), Sampling::Nearest, FillMode::Wrap, 0.0);
    assert!(error.expect_err("eight numbers").to_string().contains("(2, 6)"));
    Ok(())
}

#[test]
fn augmentations_train_inside_of_a_step() -> Result<()> {
    let x = Tensor::rand([64, 6, 6, 2], 1) * 255.0;
    let y = x.mean(&[1, 2, 3]).gt(127.5).cast(DType::I32);
    let mut model = Sequential::new([6, 6, 2])
        .add(RandomFlip::default())
        .add(RandomRotation::new(0.1))
        .add(RandomZoom::new(0.2).width_factor((-0.1, 0.3)).fill_mode(FillMode::Nearest))
        .add(RandomTranslation::new(0.1, Factor::Up(0.2)).interpolation(Sampling::Nearest))
        .add(RandomContrast::new(0.2))
        .add(RandomBrightness::new(0.1))
        .add(RandomCrop::new(5, 5))
        .add(Resizing::new(4, 4).interpolation(Interpolation::Nearest))
        .add(Rescaling::new(1.0 / 255.0))
        .add(Conv2D::new(3, 3))
        .add(Flatten::new())
        .add(Dense::new(2));
    model.compile(Adam::new(0.01), SparseCategoricalCrossentropy::from_logits(), [Accuracy::new()])?;
    let history = model.fit((&x, &y), Fit::epochs(2).batch_size(16).verbose(0))?;
    assert!(history["loss"].iter().all(|loss| loss.is_finite()));
    assert_eq!(
        model.predict(&x)?.to_vec::<f32>()?,
        model.predict(&x)?.to_vec::<f32>()?,
        "nothing is random in prediction"
    );
    Ok(())
}

/// What a pixel shows whose value is where it lies: mean, and variance, of 2000 images.
fn looks(layer: impl Layer, at: (usize, usize), along: usize, device: &Device) -> Result<(f64, f64)> {
    const SIDE: usize = 21;
    let place = Tensor::iota([2000, SIDE, SIDE, 1], along as isize).cast(DType::F32);
    let got = run(layer, &place.eval()?, true, device)?;
    let seen: Vec<f64> = got.chunks(SIDE * SIDE).map(|image| f64::from(image[at.0 * SIDE + at.1])).collect();
    let mean = seen.iter().sum::<f64>() / 2000.0;
    Ok((mean, seen.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / 2000.0))
}

#[test]
fn turns_zooms_and_moves_have_the_range_that_was_asked_for() -> Result<()> {
    // Five standard errors of uniform numbers in 2000 draws.
    let close = |what: &str, (mean, variance): (f64, f64), want: (f64, f64)| {
        let (a, b) = (5.0 * (want.1 / 2000.0).sqrt(), 5.0 * want.1 * (0.8f64 / 2000.0).sqrt());
        assert!((mean - want.0).abs() <= a + 1e-3, "{what}: mean {mean}, should be {}", want.0);
        assert!((variance - want.1).abs() <= b + 1e-3, "{what}: variance {variance}, should be {}", want.1);
    };
    let uniform = |width: f64| width * width / 12.0;
    for device in devices() {
        let device = &device;
        // Up to 0.2 of 21 pixels both ways; 0.1 to 0.3 of them to the left.
        let moved = || RandomTranslation::new(0.2, (-0.3, -0.1));
        close("down", looks(moved(), (10, 10), 1, device)?, (10.0, uniform(8.4)));
        close("left", looks(moved(), (10, 10), 2, device)?, (10.0 + 4.2, uniform(4.2)));
        // A pixel 5 from the middle shows what lay 5 (1 + factor) from there.
        let zoom = || RandomZoom::new((-0.4, 0.2)).width_factor(0.3);
        close("tall", looks(zoom(), (15, 10), 1, device)?, (10.0 + 5.0 * 0.9, uniform(5.0 * 0.6)));
        close("wide", looks(zoom(), (10, 15), 2, device)?, (15.0, uniform(5.0 * 0.6)));
        // 7 cos and 7 sin of an angle up to an eighth of the circle.
        let (a, turn) = (std::f64::consts::FRAC_PI_4, || RandomRotation::new(0.125));
        let (cos, square) = (a.sin() / a, 0.5 + (2.0 * a).sin() / (4.0 * a));
        close("across", looks(turn(), (10, 17), 2, device)?, (10.0 + 7.0 * cos, 49.0 * (square - cos * cos)));
        close("around", looks(turn(), (10, 17), 1, device)?, (10.0, 49.0 * (1.0 - square)));
    }
    Ok(())
}

#[test]
fn channels_come_last() {
    let image = ["height", "width", "factor", "height_factor", "width_factor"];
    for class in [
        "CenterCrop",
        "RandomBrightness",
        "RandomContrast",
        "RandomCrop",
        "RandomFlip",
        "RandomRotation",
        "RandomTranslation",
        "RandomZoom",
        "Resizing",
    ] {
        let mut config = Config::new();
        for field in image {
            let whole = field == "height" || field == "width";
            config.insert(field.into(), if whole { 3.into() } else { 0.1.into() });
        }
        config.insert("data_format".into(), "channels_last".into());
        ibex::layers::from_config(class, config.clone()).expect("channels come last");
        config.insert("data_format".into(), "channels_first".into());
        let error = ibex::layers::from_config(class, config).map(drop).expect_err("refused").to_string();
        assert!(error.contains("data_format \"channels_first\" is not supported"), "{class}: {error}");
    }
}

#[test]
fn mistakes_are_named() {
    let error = |model: Model| model.check().map(drop).expect_err("a mistake").to_string();
    let vector = error(Sequential::new([4]).add(RandomRotation::new(0.1)));
    assert!(vector.contains("takes images") && vector.contains("random_rotation"), "{vector}");
    assert!(error(Sequential::new([4, 4, 1]).add(RandomZoom::new(1.5))).contains("height_factor"));
    assert!(error(Sequential::new([4, 4, 1]).add(Resizing::new(0, 4))).contains("no pixels"));
    assert!(error(Sequential::new([4]).add(Discretization::bins(3))).contains("adapt"));
    assert!(error(Sequential::new([4]).add(IntegerLookup::new())).contains("adapt"));
    let bare = IntegerLookup::new().vocabulary([1, 2]).output_mode(ibex::layers::OutputMode::TfIdf);
    assert!(error(Sequential::new([4]).add(bare.clone())).contains("give 2 with `idf_weights`"));
    assert!(error(Sequential::new([4]).add(bare.clone().idf_weights([0.5]))).contains("give 2"));
    assert!(Sequential::new([4]).add(bare.idf_weights([0.5, 0.7])).check().is_ok());
    assert!(
        error(Sequential::new([4]).add(Normalization::new().statistics([1.0, 2.0], [1.0, 1.0])))
            .contains("does not fit")
    );
    let model = Sequential::with_dtype([2], DType::I32).add(CategoryEncoding::new(3));
    let bad = model.predict(&Tensor::from_vec(vec![0, 3], [1, 2])).expect_err("3 is out of range").to_string();
    assert!(bad.contains("number 3 at position 1"), "{bad}");
}
