//! What operators and members say of addresses.
#![no_main]

use libfuzzer_sys::fuzz_target;
use net::{InitialCluster, Scheme, Url, check_advertised, check_bindable, parse_urls};

fuzz_target!(|text: &str| {
    if let Ok(url) = Url::parse(text) {
        // The text of a unix socket may not read again: nothing escapes it anew.
        if matches!(url.scheme(), Scheme::Http | Scheme::Https) {
            let again = Url::parse(url.as_str()).expect("a URL's own text is read");
            assert_eq!(again.as_str(), url.as_str());
        }
    }
    if let Ok(urls) = parse_urls(text) {
        assert!(urls.is_sorted());
        // Good or bad, they are judged.
        let _ = (check_bindable(&urls), check_advertised(&urls));
    }
    let _ = InitialCluster::parse(text);
});
