//! Pages that are made from the code say what the code does.

use std::fs;
use std::path::Path;

use pingbox::model::ErrorCode;

#[test]
fn the_page_of_error_codes_has_the_table_of_the_code() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/errors.md");
    let page = fs::read_to_string(&path).unwrap();
    let (begin, end) = ("<!-- table: begin -->\n", "\n<!-- table: end -->");
    let (head, rest) = page.split_once(begin).expect("the page marks where its table begins");
    let (table, tail) = rest.split_once(end).expect("the page marks where its table ends");
    let wanted = ErrorCode::table_in_markdown();
    if table != wanted {
        // The page follows the code: look at the difference, and commit it.
        fs::write(&path, format!("{head}{begin}{wanted}{end}{tail}")).unwrap();
        panic!("docs/errors.md was behind src/model/error_table.rs; it is written anew");
    }
}
