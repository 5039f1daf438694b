//! Files are written whole or not at all.

mod common;
use common::Folder;
use ibex_core::{Error, ErrorKind};
use ibex_data::io::write_atomic;
use std::fs;
use std::io::{self, Seek, SeekFrom, Write};
use std::path::Path;

#[test]
fn writes_and_replaces() {
    let folder = Folder::new("replace");
    let path = folder.path().join("model.keras");
    write_atomic(&path, |f| f.write_all(b"first, and longer")).unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"first, and longer");
    write_atomic(&path, |f| {
        f.write_all(b"?econd")?;
        f.seek(SeekFrom::Start(0))?;
        f.write_all(b"s")
    })
    .unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"second");
    assert_eq!(folder.names(), ["model.keras"]);
}

#[test]
fn a_failed_write_leaves_the_old_file_and_nothing_else() {
    let folder = Folder::new("fail");
    let path = folder.path().join("model.keras");
    fs::write(&path, "old").unwrap();
    let error = write_atomic(&path, |f| {
        f.write_all(&[7; 100_000])?;
        Err(io::ErrorKind::StorageFull.into())
    })
    .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Io);
    assert!(error.to_string().contains("model.keras") && error.to_string().contains("make room"), "{error}");

    let own = write_atomic(&path, |_| Err(io::Error::other(Error::value("no weights")))).unwrap_err();
    assert_eq!((own.kind(), own.message()), (ErrorKind::Value, "no weights"));
    assert!(own.to_string().contains("model.keras"), "{own}");

    let panicked = std::panic::catch_unwind(|| write_atomic(&path, |_| panic!("a bug in the caller")));
    assert!(panicked.is_err());
    assert_eq!(fs::read(&path).unwrap(), b"old");
    assert_eq!(folder.names(), ["model.keras"]);
}

#[test]
fn the_temporary_file_is_in_the_same_folder() {
    let folder = Folder::new("temporary");
    write_atomic(folder.path().join("a"), |_| {
        let names = folder.names();
        assert!(names.len() == 1 && names[0].ends_with(".a.tmp"), "{names:?}");
        Ok(())
    })
    .unwrap();
}

fn refused(path: &Path) -> Error {
    let error = write_atomic(path, |f| f.write_all(b"new")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Io);
    if let Some(name) = path.file_name() {
        assert!(error.to_string().contains(name.to_str().unwrap()), "{error}");
    }
    error
}

#[test]
fn places_that_can_not_be_written() {
    let folder = Folder::new("refused");
    let missing = refused(&folder.path().join("missing/model.keras"));
    assert!(missing.to_string().contains("folder exists"), "{missing}");
    refused(folder.path());
    refused(Path::new(""));
    refused(&folder.path().join(".."));
    let file = folder.path().join("file");
    fs::write(&file, "old").unwrap();
    refused(&file.join("below"));

    let mut permissions = fs::metadata(&file).unwrap().permissions();
    permissions.set_readonly(true);
    fs::set_permissions(&file, permissions).unwrap();
    let error = refused(&file);
    assert!(error.to_string().contains("read-only"), "{error}");
    assert_eq!(fs::read(&file).unwrap(), b"old");
    assert_eq!(folder.names(), ["file"]);
}

#[cfg(unix)]
mod unix {
    use super::*;
    use std::os::unix::fs::{PermissionsExt, symlink};

    #[test]
    fn a_read_only_folder() {
        let folder = Folder::new("read-only");
        let path = folder.path().join("model.keras");
        fs::write(&path, "old").unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o555)).unwrap();
        if fs::write(folder.path().join("probe"), "").is_ok() {
            // Root may write anywhere but here.
            refused(Path::new("/proc/self/ibex-test"));
        } else {
            let error = refused(&path);
            assert!(error.to_string().contains("permissions"), "{error}");
        }
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"old");
    }

    #[test]
    fn devices_are_not_replaced() {
        refused(Path::new("/dev/null"));
        assert!(!fs::metadata("/dev/null").unwrap().is_file());
    }

    #[test]
    fn links_and_permissions_stay() {
        let folder = Folder::new("links");
        let (file, link) = (folder.path().join("file"), folder.path().join("link"));
        fs::write(&file, "old").unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
        symlink("file", &link).unwrap();
        write_atomic(&link, |f| f.write_all(b"new")).unwrap();
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(fs::read(&file).unwrap(), b"new");
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o640);
    }
}
