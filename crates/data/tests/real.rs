//! Real files, where the machine has them: each test names the variable that says where.

use ibex_data::*;
use std::path::PathBuf;

fn place(variable: &str) -> Option<PathBuf> {
    let place = std::env::var_os(variable).map(PathBuf::from);
    if place.is_none() {
        eprintln!("skipped: {variable} is not set");
    }
    place
}

/// A folder with the four files.
#[test]
fn fashion_mnist() {
    let Some(dir) = place("IBEX_FASHION_MNIST") else { return };
    let clothes = fashion_mnist_from_dir(dir).unwrap();
    assert_eq!((clothes.train.len(), clothes.test.len()), (60_000, 10_000));
    let first: Vec<&str> =
        clothes.train.y.data().unwrap().to_f64()[..4].iter().map(|&c| FASHION_MNIST_CLASSES[c as usize]).collect();
    assert_eq!(first, ["Ankle boot", "T-shirt/top", "T-shirt/top", "Dress"]);
    let x = clothes.train.x.data().unwrap().to_f64();
    let mean = x.iter().sum::<f64>() / x.len() as f64;
    assert!((mean - 0.2860).abs() < 1e-4, "{mean}");
}

/// `train.csv` of House Prices.
#[test]
fn house_prices() {
    let Some(path) = place("IBEX_HOUSE_PRICES") else { return };
    let houses = Table::from_csv(path).unwrap();
    assert_eq!((houses.len(), houses.names().len()), (1460, 81));
    assert_eq!((houses.number_names().len(), houses.text_names().len()), (38, 43));
    let x = houses.numbers(&houses.number_names()).unwrap();
    let missing = x.data().unwrap().to_f64().iter().filter(|v| v.is_nan()).count();
    assert_eq!(missing, 259 + 8 + 81);
    let x = Imputer::fit(&x, Fill::Median).unwrap().transform(&x).unwrap();
    let x = StandardScaler::fit(&x).unwrap().transform(&x).unwrap();
    assert!(x.data().unwrap().to_f64().iter().all(|v| v.is_finite()));
    let text = OneHotEncoder::fit(&houses, &houses.text_names()).unwrap();
    let hot = text.transform(&houses).unwrap();
    assert_eq!(hot.shape().to_vec(), [1460, text.names().len()]);
    // Each row has one category of each column.
    assert!(hot.data().unwrap().to_f64().chunks(text.names().len()).all(|row| row.iter().sum::<f64>() == 43.0));
    let price = houses.numbers(&["SalePrice"]).unwrap();
    let mean = price.data().unwrap().to_f64().iter().sum::<f64>() / 1460.0;
    assert!((mean - 180_921.195_89).abs() < 1e-3, "{mean}");
}

/// A CSV file of film reviews with the columns text, label and source.
#[test]
fn reviews() {
    let Some(path) = place("IBEX_REVIEWS") else { return };
    let texts = Texts::from_csv(path, "text", "label").unwrap().shuffle(1);
    assert_eq!((texts.len(), texts.class_names.len()), (33_530, 2));
    let (train, test) = texts.split_at(30_000).unwrap();
    let imdb = Imdb::new(&train, &test, &Encoding::default().num_words(20_000));
    // The order that Keras's imdb.get_word_index has.
    assert_eq!(imdb.words.words()[..6].join(" "), "the and a of to is");
    let data = imdb.train.padded(Pad::to(200)).unwrap();
    assert_eq!(data.x.shape().to_vec(), [30_000, 200]);
    assert!(data.x.data().unwrap().to_f64().iter().all(|&v| (0.0..20_000.0).contains(&v)));
}

/// A folder of PNG and JPEG files, with no folders in it.
#[cfg(feature = "images")]
#[test]
fn images() {
    let Some(dir) = place("IBEX_IMAGES") else { return };
    let mut count = 0;
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|end| end == "png" || end == "jpg") {
            let image = load_image(&path, Color::Rgb, None).unwrap();
            assert!(image.data().unwrap().to_f64().iter().all(|v| (0.0..=255.0).contains(v)));
            count += 1;
        }
    }
    assert!(count > 0);
}
