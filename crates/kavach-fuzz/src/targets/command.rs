use kavach::KavachError;
use kavach::command::split_words;

pub(crate) fn run(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let ours = split_words(&text);
    let theirs = shell_words::split(&text);
    match &ours {
        Ok(words) => {
            assert!(!text.contains('\0'));
            // A shell starts a comment at `#`, and so does the other reader.
            if !text.contains('#') {
                assert_eq!(theirs.as_ref().ok(), Some(words), "{text:?}");
            }
            let quoted = shell_words::join(words);
            assert_eq!(
                split_words(&quoted).ok().as_ref(),
                Some(words),
                "{quoted:?}"
            );
        }
        Err(KavachError::CommandSyntax { position, problem }) => {
            let rest = text
                .get(*position..)
                .expect("the place is one of a character");
            match *problem {
                "an open single quote" => assert!(rest.starts_with('\'')),
                "an open double quote" => assert!(rest.starts_with('"')),
                "a lone backslash at the end" => assert_eq!(rest, "\\"),
                _ => assert!(rest.starts_with('\0')),
            }
            if problem.contains("quote") && !text.contains('#') {
                assert!(theirs.is_err(), "{text:?}");
            }
        }
        Err(other) => panic!("{other}"),
    }
}
