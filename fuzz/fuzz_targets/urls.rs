//! What operators and members say of addresses.
#![no_main]

use libfuzzer_sys::fuzz_target;
use net::{InitialCluster, Url, check_advertised, check_bindable, parse_urls};

fuzz_target!(|text: &str| {
    if let Ok(url) = Url::parse(text) {
        let again = Url::parse(url.as_str()).expect("a URL's own text is read");
        // White space at the end of an opaque part or of a query is the URL's where something
        // followed it, which is gone if it was empty.
        assert_eq!(again.as_str(), url.as_str().trim());
    }
    if let Ok(urls) = parse_urls(text) {
        assert!(urls.is_sorted());
        // Good or bad, they are judged.
        let _ = (check_bindable(&urls), check_advertised(&urls));
    }
    let _ = InitialCluster::parse(text);
});
