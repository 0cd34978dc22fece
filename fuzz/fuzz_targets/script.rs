//! A script of faults: what can be read is in its range, and is the same after being written.
#![no_main]

use ferryd_sandbox::faults::Script;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else { return };
    match Script::parse(text) {
        Ok(script) => {
            assert!(script.check().is_ok());
            let written = serde_json::to_string(&script).expect("a script can be written");
            assert_eq!(Script::parse(&written).expect("what was written can be read"), script);
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
});
