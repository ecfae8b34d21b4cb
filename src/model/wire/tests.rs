use super::*;

fn png(bytes: usize) -> Vec<u8> {
    let mut content = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x40\0\0\0\x20".to_vec();
    content.resize(bytes, 0);
    content
}

fn file(content: Vec<u8>) -> FieldValue {
    FieldValue::File(content.into())
}

fn text(text: &str) -> FieldValue {
    FieldValue::Text(text.to_owned())
}

fn base64(content: &[u8]) -> FieldValue {
    use base64::Engine as _;
    text(&base64::engine::general_purpose::STANDARD.encode(content))
}

fn read(fields: Vec<(&str, FieldValue)>) -> Result<Captcha, WireError> {
    let mut all = Fields::default();
    for (name, value) in fields {
        all.push(name.to_owned(), value);
    }
    Submission::from_wire(all).map(|submission| submission.captcha)
}

fn texts(pairs: &[(&'static str, &str)]) -> Vec<(&'static str, FieldValue)> {
    pairs.iter().map(|&(name, value)| (name, text(value))).collect()
}

/// The code that the request is refused with.
fn code(fields: Vec<(&str, FieldValue)>) -> String {
    read(fields).expect_err("it should be refused").code.as_str().to_owned()
}

#[test]
fn the_type_is_known_by_the_parameters() {
    let image = || ("file", file(png(200)));
    let page = [("googlekey", "k"), ("publickey", "k"), ("pageurl", "https://example.com/")];
    let key = ["s_s_c_user_id", "s_s_c_session_id", "s_s_c_web_server_sign", "s_s_c_web_server_sign2"];
    for (kind, pairs, with_image) in [
        (CaptchaType::Image, vec![("method", "post")], true),
        (CaptchaType::Image, vec![], true),
        (CaptchaType::Image, vec![("method", "post"), ("textcaptcha", "ignored beside an image")], true),
        (CaptchaType::Image, vec![("method", "post"), ("coordinatescaptcha", "0"), ("recaptcha", "0")], true),
        (CaptchaType::Click, vec![("method", "post"), ("coordinatescaptcha", "1")], true),
        (CaptchaType::RecaptchaImage, vec![("method", "post"), ("recaptcha", "1")], true),
        (CaptchaType::Rotate, vec![("method", "rotatecaptcha")], true),
        (CaptchaType::Text, vec![("textcaptcha", "2 + 2?")], false),
        (CaptchaType::Text, vec![("method", "post"), ("textcaptcha", "2 + 2?")], false),
        (CaptchaType::RecaptchaV2, [vec![("method", "userrecaptcha")], page.to_vec()].concat(), false),
        (
            CaptchaType::Raw,
            [vec![("method", "userrecaptcha"), ("version", "v3")], page.to_vec()].concat(),
            false,
        ),
        (CaptchaType::Funcaptcha, [vec![("method", "funcaptcha")], page.to_vec()].concat(), false),
        (
            CaptchaType::Keycaptcha,
            [vec![("method", "keycaptcha")], key.map(|name| (name, "v")).to_vec(), page.to_vec()].concat(),
            false,
        ),
        (CaptchaType::Raw, vec![("method", "turnstile"), ("sitekey", "k")], false),
        (CaptchaType::Raw, vec![("method", "post"), ("bounding_box", "1")], true),
    ] {
        let fields = texts(&pairs).into_iter().chain(with_image.then(image)).collect();
        assert_eq!(read(fields).unwrap().kind, kind, "{pairs:?}");
    }
}

#[test]
fn an_image_travels_the_way_its_method_says_however_it_came() {
    let content = png(200);
    for (method, name, value) in [
        ("post", "file", file(content.clone())),
        ("post", "file", base64(&content)),
        ("post", "body", base64(&content)),
        ("base64", "body", base64(&content)),
        ("base64", "body", file(content.clone())),
        ("base64", "file", file(content.clone())),
    ] {
        let captcha = read(vec![("method", text(method)), (name, value)]).unwrap();
        assert_eq!(captcha.params, [("method".to_owned(), method.to_owned())], "{method} {name}");
        let field = if method == "post" { "file" } else { "body" };
        let expected = CaptchaFile { field: field.to_owned(), content: content.clone().into() };
        assert_eq!(captcha.files, [expected], "{method} {name}");
    }
}

#[test]
fn images_to_rotate_travel_as_files() {
    for fields in [
        vec![("file_1", file(png(200))), ("file_2", file(png(300)))],
        vec![("file_1", base64(&png(200))), ("file_2", file(png(300)))],
    ] {
        let captcha = read([vec![("method", text("rotatecaptcha"))], fields].concat()).unwrap();
        let sizes: Vec<_> =
            captcha.files.iter().map(|file| (file.field.as_str(), file.content.len())).collect();
        assert_eq!(sizes, [("file_1", 200), ("file_2", 300)]);
    }
    let single = read(vec![("method", text("rotatecaptcha")), ("body", base64(&png(200)))]).unwrap();
    assert_eq!(single.files[0].field, "file_1");
    let too_many = (1..=21).map(|number| (format!("file_{number}"), file(png(200)))).collect::<Vec<_>>();
    let too_many = too_many.iter().map(|(name, value)| (name.as_str(), value.clone()));
    assert_eq!(
        code([("method", text("rotatecaptcha"))].into_iter().chain(too_many).collect()),
        "ERROR_BAD_PARAMETERS"
    );
}

#[test]
fn what_is_unknown_goes_on_and_what_is_ours_does_not() {
    let given = [
        ("key", "secret"),
        ("json", "1"),
        ("header_acao", "1"),
        ("pingback", "http://a.example/"),
        ("method", "newest"),
        ("soft_id", "7"),
        ("some_field", "a=b&c|d"),
    ];
    let passed: Vec<_> =
        given[4..].iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect();
    assert_eq!(read(texts(&given)).unwrap().params, passed);
}

#[test]
fn a_switch_goes_on_as_a_number() {
    let given = [("method", "newest"), ("invisible", "false"), ("phrase", "true"), ("other", "false")];
    let expected = ["newest", "0", "1", "false"];
    let params = read(texts(&given)).unwrap().params;
    assert_eq!(params.iter().map(|(_, value)| value.as_str()).collect::<Vec<_>>(), expected);
}

#[test]
fn an_instruction_goes_on_as_an_image_if_it_is_one() {
    let with = |value| {
        read(vec![("method", text("base64")), ("body", base64(&png(200))), ("imginstructions", value)])
            .unwrap()
    };
    let captcha = with(base64(&png(150)));
    assert_eq!((captcha.files[1].field.as_str(), captcha.files[1].content.len()), ("imginstructions", 150));
    let captcha = with(text("not base64!"));
    assert_eq!((captcha.files.len(), captcha.param("imginstructions")), (1, Some("not base64!")));
}

#[test]
fn what_the_api_document_refuses_is_refused_with_its_code() {
    let post = |value| vec![("method", text("post")), ("file", value)];
    assert_eq!(code(post(file(png(99)))), "ERROR_ZERO_CAPTCHA_FILESIZE");
    assert_eq!(code(texts(&[("method", "post")])), "ERROR_ZERO_CAPTCHA_FILESIZE");
    assert_eq!(code(texts(&[("method", "rotatecaptcha")])), "ERROR_ZERO_CAPTCHA_FILESIZE");
    assert_eq!(code(post(file(png(102_401)))), "ERROR_TOO_BIG_CAPTCHA_FILESIZE");
    assert_eq!(code(post(file(vec![b'x'; 200]))), "ERROR_IMAGE_TYPE_NOT_SUPPORTED");
    assert_eq!(code(post(text("not base64!"))), "ERROR_IMAGE_TYPE_NOT_SUPPORTED");
    let token = [("googlekey", "k"), ("publickey", "k"), ("pageurl", "https://example.com/")];
    for (method, missing, expected) in [
        ("userrecaptcha", "pageurl", "ERROR_PAGEURL"),
        ("userrecaptcha", "googlekey", "ERROR_GOOGLEKEY"),
        ("funcaptcha", "pageurl", "ERROR_PAGEURL"),
        ("funcaptcha", "publickey", "ERROR_BAD_PARAMETERS"),
        ("keycaptcha", "pageurl", "ERROR_BAD_PARAMETERS"),
    ] {
        let given = token.into_iter().filter(|(name, _)| *name != missing);
        let pairs: Vec<_> = [("method", method)].into_iter().chain(given).collect();
        assert_eq!(code(texts(&pairs)), expected, "{method} without {missing}");
    }
    assert_eq!(code(texts(&[("googlekey", "k")])), "ERROR_BAD_PARAMETERS");
}

proptest::proptest! {
    #[test]
    fn no_parameters_make_it_panic(
        pairs in proptest::collection::vec(
            ("(method|file|body|file_1|textcaptcha|recaptcha|imginstructions|[a-z]{1,5})", ".{0,40}"),
            0..8,
        ),
    ) {
        let pairs: Vec<(&str, FieldValue)> =
            pairs.iter().map(|(name, value)| (name.as_str(), text(value))).collect();
        drop(read(pairs));
    }
}
