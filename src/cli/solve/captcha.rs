//! A file, and the captcha that is made of it.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use anyhow::Context as _;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::model::CaptchaType;

/// The endings of what is taken of a folder.
const IMAGES: [&str; 4] = ["gif", "jpeg", "jpg", "png"];
/// The most that is read of a file, in bytes. The server says that an image is too large from 100 kB on.
const MAX_BYTES: u64 = 1024 * 1024;

/// A field of the API, as `name=value`.
#[derive(Clone, Debug)]
pub(super) struct Field {
    name: String,
    value: String,
}

impl FromStr for Field {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, value) = text.split_once('=').ok_or("write it as name=value")?;
        if name.is_empty() {
            return Err("write it as name=value".to_owned());
        }
        if ["type", "tag", "body", "file", "files"].contains(&name) || name.starts_with("file_") {
            return Err(format!("{name} is set by the files, --type and --tag"));
        }
        Ok(Self { name: name.to_owned(), value: value.to_owned() })
    }
}

/// What all captchas of a run have in common.
#[derive(Debug)]
pub(super) struct Options {
    pub(super) kind: CaptchaType,
    pub(super) fields: Vec<Field>,
    pub(super) tag: Option<String>,
}

/// What is submitted of a file.
pub(super) struct Captcha {
    pub(super) fields: Value,
    /// The same for the same content and options.
    digest: String,
}

impl Captcha {
    /// Reads the file; the error says why that cannot be done.
    pub(super) fn read(file: &str, options: &Options) -> Result<Self, String> {
        let mut content = Vec::new();
        let opened = File::open(file).map_err(|error| error.to_string())?;
        opened.take(MAX_BYTES + 1).read_to_end(&mut content).map_err(|error| error.to_string())?;
        match content.len() as u64 {
            0 => Err("the file is empty".to_owned()),
            bytes if bytes > MAX_BYTES => Err("the file is too large: images may have 100 kB".to_owned()),
            _ => Ok(Self::new(&content, options)),
        }
    }

    fn new(content: &[u8], options: &Options) -> Self {
        let mut fields = json!({ "type": options.kind.as_str() });
        if let Some(tag) = &options.tag {
            fields["tag"] = json!(tag);
        }
        for Field { name, value } in &options.fields {
            fields[name] = json!(value);
        }
        let image = STANDARD.encode(content);
        match options.kind {
            CaptchaType::Rotate => fields["files"] = json!([image]),
            _ => fields["body"] = json!(image),
        }
        let mut digest = String::new();
        for byte in Sha256::digest(fields.to_string()) {
            write!(digest, "{byte:02x}").expect("a string takes everything");
        }
        Self { fields, digest }
    }

    /// The `Idempotency-Key` of one attempt: one that failed is not the end of a captcha.
    pub(super) fn key(&self, attempt: u32) -> String {
        format!("solve-{}-{attempt}", self.digest)
    }
}

/// The files that are named, each once, and the images of folders that are.
pub(super) fn files(named: &[PathBuf]) -> anyhow::Result<Vec<String>> {
    let mut files = Vec::new();
    for path in named {
        if !path.is_dir() {
            files.push(path.to_string_lossy().into_owned());
            continue;
        }
        let cannot = || format!("cannot list {}", path.display());
        let entries: Vec<_> =
            fs::read_dir(path).with_context(cannot)?.collect::<Result<_, _>>().with_context(cannot)?;
        let mut images: Vec<_> =
            entries.into_iter().map(|entry| entry.path()).filter(|path| is_image(path)).collect();
        images.sort();
        files.extend(images.iter().map(|image| image.to_string_lossy().into_owned()));
    }
    let mut seen = std::collections::HashSet::new();
    files.retain(|file| seen.insert(file.clone()));
    Ok(files)
}

fn is_image(path: &Path) -> bool {
    let ending = path.extension().map(|ending| ending.to_string_lossy().to_lowercase());
    ending.is_some_and(|ending| IMAGES.contains(&ending.as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(field: &str, tag: Option<&str>) -> Options {
        let fields = vec![field.parse().unwrap()];
        Options { kind: CaptchaType::Image, fields, tag: tag.map(str::to_owned) }
    }

    #[test]
    fn the_key_is_of_the_content_the_options_and_the_attempt() {
        let key = |content: &[u8], field, tag| Captcha::new(content, &options(field, tag)).key(0);
        let one = key(b"a", "numeric=1", None);
        assert_eq!(one, key(b"a", "numeric=1", None));
        for other in
            [key(b"b", "numeric=1", None), key(b"a", "numeric=2", None), key(b"a", "numeric=1", Some("t"))]
        {
            assert_ne!(one, other);
        }
        let captcha = Captcha::new(b"a", &options("numeric=1", None));
        assert_ne!(captcha.key(0), captcha.key(1));
    }

    #[test]
    fn fields_that_the_command_sets_are_not_taken() {
        for text in ["numeric", "=1", "type=click", "tag=a", "body=a", "file_1=a"] {
            assert!(text.parse::<Field>().is_err(), "{text}");
        }
        let field: Field = "textinstructions=a=b".parse().unwrap();
        assert_eq!((field.name.as_str(), field.value.as_str()), ("textinstructions", "a=b"));
    }
}
