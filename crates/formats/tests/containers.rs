//! What h5py, NumPy and Keras write (files/, made by generate.py) is read; what is written is read again.

use ibex_core::{Data, Result};
use ibex_formats::hdf5::{Attribute, Dataset, Group};
use ibex_formats::keras::Archive;
use ibex_formats::npy::{Array, npz_from_bytes, npz_to_bytes, open_npz};
use ibex_formats::weights::{self, Object, legacy};
use std::path::PathBuf;

fn path(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/files").join(name)
}

/// All arrays of the fixtures count up, from -3 where there is a sign.
fn assert_counts(name: &str, data: &Data) {
    let numbers = data.to_f64();
    let start = numbers.first().copied().unwrap_or(0.0);
    assert!(start == 0.0 || start == -3.0, "{name}: {numbers:?}");
    assert!(numbers.windows(2).all(|pair| pair[1] == pair[0] + 1.0), "{name}: {numbers:?}");
}

#[test]
fn every_way_to_store_numbers_in_hdf5() -> Result<()> {
    for name in ["arrays_earliest.h5", "arrays_latest.h5"] {
        let file = Group::open(path(name))?;
        let arrays = file.arrays();
        assert_eq!(arrays.len(), 21 + 8, "{name}");
        for (at, dataset) in arrays {
            let data = dataset.read()?;
            match &at[..] {
                "plain/bool" => assert_eq!(*data, Data::Bool(vec![1, 0, 1])),
                "plain/empty" => assert_eq!((&dataset.shape[..], data.len()), (&[0, 3][..], 0)),
                _ => assert_counts(&format!("{name} {at}"), &data),
            }
        }
        let text = |text: &str| Attribute::Text(text.into());
        let texts = |texts: &[&str]| Attribute::Texts(texts.iter().map(|t| t.to_string()).collect());
        for (key, value) in [
            ("text", text("grüße")),
            ("fixed", text("fixed")),
            ("texts", texts(&["a", "", "ccc"])),
            ("fixed_texts", texts(&["a", "bb"])),
            ("ints", Attribute::Ints(vec![1, -2])),
            ("floats", Attribute::Floats(vec![0.5])),
            ("none", Attribute::Floats(vec![])),
        ] {
            assert_eq!(file.attributes.get(key), Some(&value), "{name} {key}");
        }
        assert!(file.others.contains_key("words"));
        let many = file.group("many").expect("a group");
        assert_eq!(many.groups.len(), 40);
        assert_eq!(many.groups["group_39"].attributes["number"], Attribute::Ints(vec![39]));
        assert_eq!((many.attributes.len(), many.text("attribute_11")), (12, Some("text 11")));
        // Written and read again, everything is the same.
        let again = Group::from_bytes(file.to_bytes()?)?;
        assert_eq!(again.attributes, file.attributes);
        assert_eq!(format!("{:?}", again.groups), format!("{:?}", file.groups));
        for ((at, before), (_, after)) in file.arrays().into_iter().zip(again.arrays()) {
            assert_eq!(before.read()?, after.read()?, "{at}");
        }
    }
    Ok(())
}

#[test]
fn groups_in_circles_are_an_error() {
    let error = Group::open(path("loop.h5")).expect_err("a circle").to_string();
    assert!(error.contains("loop.h5") && (error.contains("circles") || error.contains("deep")), "{error}");
}

/// More members, texts and attributes than one node, collection or list holds.
#[test]
fn large_trees() -> Result<()> {
    let mut file = Group::default();
    let vars = file.make("optimizer/vars")?;
    for i in 0..3000 {
        vars.datasets.insert(i.to_string(), Dataset::new([], Data::I32(vec![i])));
    }
    let long = "x".repeat(200_000);
    file.attributes.insert("config".into(), Attribute::Text(long.clone()));
    for i in 0..700 {
        let group = file.make(&format!("layers/dense_{i}"))?;
        group.attributes.insert("name".into(), Attribute::Text(format!("layer {i}")));
    }
    let again = Group::from_bytes(file.to_bytes()?)?;
    assert_eq!(again.text("config"), Some(&long[..]));
    assert_eq!(again.group("layers/dense_699").and_then(|g| g.text("name")), Some("layer 699"));
    for (i, dataset) in weights::numbered(&again, "optimizer")?.into_iter().enumerate() {
        assert_eq!(*dataset.read()?, Data::I32(vec![i as i32]));
    }
    let mut wide = Group::default();
    wide.attributes.insert("texts".into(), Attribute::Texts(vec!["text".into(); 5000]));
    let error = wide.to_bytes().expect_err("80 KB").to_string();
    assert!(error.contains("texts") && error.contains("split"), "{error}");
    wide = Group::default();
    wide.make("a")?;
    wide.datasets.insert("a".into(), Dataset::new([1], Data::F32(vec![0.0])));
    assert!(wide.to_bytes().expect_err("two of one name").to_string().contains("one name"));
    wide.datasets.insert("a".into(), Dataset::lazy([2], ibex_core::DType::F32, || Ok(Data::F32(vec![0.0]))));
    wide.groups.clear();
    assert!(wide.to_bytes().expect_err("a wrong count").to_string().contains("holds 1 numbers"));
    Ok(())
}

#[test]
fn archives_of_keras() -> Result<()> {
    let stored = Archive::open(path("small.keras"))?;
    let packed = Archive::open(path("deflated.keras"))?;
    let bytes = Archive::from_bytes(std::fs::read(path("small.keras")).expect("the fixture"))?;
    assert_eq!(stored.config["class_name"], "Sequential");
    assert_eq!(stored.metadata["keras_version"], "3.15.1");
    for other in [&packed, &bytes] {
        assert_eq!((&stored.config, &stored.metadata), (&other.config, &other.metadata));
        for ((at, a), (_, b)) in stored.weights.arrays().into_iter().zip(other.weights.arrays()) {
            assert_eq!(a.read()?, b.read()?, "{at}");
        }
    }
    let kernel = stored.weights.dataset("layers/dense/vars/0").expect("a kernel");
    assert_eq!(kernel.shape, [3, 2]);
    assert_eq!(weights::numbered(&stored.weights, "optimizer")?.len(), 2 + 2 * 4);

    let mut own = Archive::new(stored.config.clone(), Group::from_bytes(stored.weights.to_bytes()?)?);
    own.assets.insert("layers/lookup/vocabulary.txt".into(), b"a\nb".to_vec());
    let folder = std::env::temp_dir().join(format!("ibex-formats-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder");
    let file = folder.join("own.keras");
    own.save(&file)?;
    let again = Archive::open(&file)?;
    assert_eq!((&again.config, &again.metadata, &again.assets), (&own.config, &own.metadata, &own.assets));
    assert_eq!(again.weights.arrays().len(), own.weights.arrays().len());
    // The same as a folder, which is `zipped=False`.
    let open = folder.join("open.keras");
    std::fs::create_dir_all(open.join("assets/layers/lookup")).expect("a folder");
    std::fs::write(open.join("config.json"), own.config.to_string()).expect("a file");
    std::fs::write(open.join("assets/layers/lookup/vocabulary.txt"), "a\nb").expect("a file");
    own.weights.save(open.join("model.weights.h5"))?;
    let again = Archive::open(&open)?;
    assert_eq!((&again.config, &again.assets), (&own.config, &own.assets));
    std::fs::remove_dir_all(&folder).expect("the folder");

    for (name, words) in
        [("small.h5", "ending .h5"), ("objects.npy", "no .keras archive"), ("packed.npz", ".npz of arrays")]
    {
        let error = Archive::open(path(name)).expect_err(name).to_string();
        assert!(error.contains(name) && error.contains(words), "{error}");
    }
    Ok(())
}

/// A bit of the weights that is flipped is found, though they are not read through the archive.
#[test]
fn checksums_are_verified() {
    let mut bytes = std::fs::read(path("small.keras")).expect("the fixture");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    let error = Archive::from_bytes(bytes).expect_err("a damaged file").to_string();
    assert!(error.to_lowercase().contains("checksum"), "{error}");
}

#[test]
fn places_of_variables() -> Result<()> {
    let file = Group::open(path("small.h5"))?;
    let layers = legacy::layers(legacy::group(&file).expect("weights"))?;
    let names: Vec<(&str, Vec<&str>)> =
        layers.iter().map(|l| (&l.name[..], l.weights.iter().map(|(name, _)| &name[..]).collect())).collect();
    assert_eq!(
        names,
        [
            ("dense", vec!["small/dense/kernel", "small/dense/bias"]),
            ("dense_1", vec!["small/dense_1/kernel", "small/dense_1/bias"])
        ]
    );
    let optimizer = legacy::variables(file.groups.get("optimizer_weights").expect("the optimizer"))?;
    assert_eq!((optimizer.len(), &optimizer[0].0[..]), (10, "adam/iteration"));

    let zeros = |n: usize| Dataset::new([n], Data::F32(vec![0.0; n]));
    let many = (0..9000).map(|i| legacy::Layer { name: format!("layer_{i}"), weights: vec![("w".into(), zeros(1))] });
    let again = Group::from_bytes(legacy::weights_group(many.collect())?.to_bytes()?)?;
    assert!(again.attributes.contains_key("layer_names2") && !again.attributes.contains_key("layer_names"));
    let layers = legacy::layers(&again)?;
    assert_eq!((layers.len(), &layers[8999].name[..], layers[8999].weights.len()), (9000, "layer_8999", 1));

    let object = |path: &str| Object { path: path.into(), name: "n".into() };
    let variables = [("layers/dense", 2), ("layers/dense", 3), ("layers/lstm/cell", 4)];
    let of = |(path, n): (&str, usize)| (path.to_string(), zeros(n));
    let file = weights::tree(&[object(""), object("layers/dropout")], variables.map(of))?;
    assert!(file.group("layers/dropout/vars").is_some() && file.group("vars").is_some());
    let paths: Vec<String> = variables.iter().map(|v| v.0.to_string()).collect();
    let found = weights::find(&file, &paths)?;
    assert_eq!((&found[1].path[..], &found[1].dataset.shape[..]), ("layers/dense/vars/1", &[3][..]));
    for (paths, words) in [
        (&paths[..2], "layers/lstm/cell/vars/0"),
        (&paths[1..], "layers/dense/vars/1"),
        (&[&paths[..], &paths[..1]].concat()[..], "2 variables are there"),
        (&[&paths[..], &["layers/gru".into()]].concat()[..], "no such layer"),
    ] {
        let error = weights::find(&file, paths).expect_err(words).to_string();
        assert!(error.contains(words), "{error}");
    }
    Ok(())
}

#[test]
fn arrays_of_numpy() -> Result<()> {
    for version in 1..=3 {
        let array = Array::open(path(&format!("version_{version}.npy")))?;
        assert_eq!(array.shape, [2, 3]);
        assert_counts("npy", &array.data);
    }
    let arrays = open_npz(path("stored.npz"))?;
    assert_eq!(arrays.len(), 8);
    arrays.iter().for_each(|(name, array)| assert_counts(name, &array.data));
    for (name, array) in open_npz(path("packed.npz"))? {
        match &name[..] {
            "bool" => assert_eq!(array, Array::new([2], Data::Bool(vec![1, 0]))?),
            "scalar" => assert_eq!(array, Array::new([], Data::F32(vec![-3.0]))?),
            _ => {
                assert_eq!((&name[..], &array.shape[..]), ("fortran", &[2, 3, 4][..]));
                assert_counts(&name, &array.data);
            }
        }
    }
    for (shape, data) in [
        (vec![], Data::F32(vec![1.5])),
        (vec![3], Data::I32(vec![-1, 0, 1])),
        (vec![2, 0], Data::U32(vec![])),
        (vec![1, 2], Data::Bool(vec![0, 1])),
        (vec![2, 1], Data::F16(vec![half::f16::from_f32(0.5); 2])),
    ] {
        let array = Array::new(shape, data)?;
        let bytes = array.to_bytes()?;
        assert_eq!(bytes.len() % 64, array.data.len() * bytes_of(&array) % 64);
        assert_eq!(Array::from_bytes(&bytes)?, array);
        let bytes = npz_to_bytes([("a/b", &array), ("c", &array)])?;
        assert_eq!(npz_from_bytes(&bytes)?, [("a/b".to_string(), array.clone()), ("c".to_string(), array)]);
    }
    let error = Array::open(path("objects.npy")).expect_err("objects").to_string();
    assert!(error.contains("objects.npy") && error.contains("pickled"), "{error}");
    assert!(Array::new([2], Data::F32(vec![1.0])).is_err());
    Ok(())
}

/// Of an element in the file.
fn bytes_of(array: &Array) -> usize {
    match array.data {
        Data::Bool(_) => 1,
        _ => array.data.dtype().size(),
    }
}

#[test]
fn numbers_that_tensors_do_not_have() -> Result<()> {
    let header = |descr: &str, count: usize| {
        let text = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': ({count},), }}\n");
        [b"\x93NUMPY\x01\0", &(text.len() as u16).to_le_bytes()[..], text.as_bytes()].concat()
    };
    let wide = [header("<i8", 1), (1i64 << 40).to_le_bytes().to_vec()].concat();
    let error = Array::from_bytes(&wide).expect_err("too wide").to_string();
    assert!(error.contains("1099511627776") && error.contains("32 bits"), "{error}");
    let narrow = [header(">i8", 1), (-5i64).to_be_bytes().to_vec()].concat();
    assert_eq!(Array::from_bytes(&narrow)?.data, Data::I32(vec![-5]));
    for descr in ["<c8", "<U3", "|O", "<f16", "x", "<M8[ns]"] {
        assert!(Array::from_bytes(&header(descr, 0)).expect_err(descr).to_string().contains(descr));
    }
    Ok(())
}

/// A file that is not read at once, with arrays that are read in pieces.
#[test]
fn large_arrays() -> Result<()> {
    let numbers = |n: usize| Data::F32((0..n).map(|i| i as f32).collect());
    let mut file = Group::default();
    for shape in [vec![301, 257], vec![150_001], vec![1, 2, 50_000], vec![70_000, 3, 1]] {
        let name = shape.iter().map(|axis| axis.to_string()).collect::<Vec<_>>().join("x");
        file.datasets.insert(name, Dataset::new(shape.clone(), numbers(shape.iter().product())));
    }
    let path = std::env::temp_dir().join(format!("ibex-formats-{}.h5", std::process::id()));
    file.save(&path)?;
    let size = std::fs::metadata(&path).expect("the file").len();
    assert!(size == file.plan()?.size() && size > 2 << 20);
    let again = Group::open(&path)?;
    for (name, dataset) in file.arrays() {
        let other = again.dataset(&name).expect(&name);
        assert_eq!(dataset.shape, other.shape);
        assert!(dataset.read()? == other.read()?, "{name}");
    }
    std::fs::remove_file(&path).expect("the file");
    Ok(())
}
