//! Reading an answer as its type of captcha has it.

use criterion::{BatchSize, Criterion};
use pingbox::model::{Answer, CaptchaType};

pub(crate) fn measure(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("answer");
    for (name, kind, text) in [
        ("token", CaptchaType::RecaptchaV2, "03AGdBq25SiXT-pmSeBXjzScW-EiocHwwpwqtk1QXlJnGnUJCZrgjwLLdt7cb0"),
        ("click", CaptchaType::Click, "coordinate:x=39,y=59;x=252,y=72"),
        ("grid", CaptchaType::RecaptchaImage, "click:3/8/a/g/"),
        ("canvas", CaptchaType::RecaptchaImage, "canvas:5,5,3,91;208,211,8,6;"),
        ("rotate", CaptchaType::Rotate, "40|200|-120"),
    ] {
        group.bench_function(name, |bencher| {
            bencher.iter_batched(|| text.to_owned(), |text| Answer::parse(kind, text), BatchSize::SmallInput);
        });
    }
    group.finish();
}
