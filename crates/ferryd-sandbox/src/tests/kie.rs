//! Kie.ai as its documented samples meet it.

use super::*;

impl Bench {
    async fn kie(&self, call: &str, kind: &str, body: &str) -> Said {
        let head = format!(
            "POST /kie/api/{call} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\nAuthorization: Bearer sk-test\r\nContent-Type: {kind}\r\n\
             Content-Length: {}\r\n\r\n",
            self.sandbox.addr(),
            body.len()
        );
        self.send(format!("{head}{body}").as_bytes()).await.unwrap()
    }
}

#[tokio::test]
async fn a_null_is_as_good_as_nothing() {
    let bench = bench();
    let said =
        bench.kie("file-base64-upload", "application/json", r#"{"base64Data":"aGk=","uploadPath":"images","fileName":null}"#).await;
    assert_eq!(said.status, 200, "{}", said.text());
    assert!(said.json()["data"]["fileName"].as_str().is_some_and(|name| name.len() == 16), "{}", said.text());
    assert_eq!(bench.only_object(), b"hi");
    for (body, word) in [
        (r#"{"base64Data":null,"uploadPath":"images"}"#, "base64Data"),
        (r#"{"base64Data":"aGk=","uploadPath":null}"#, "uploadPath"),
        (r#"{"base64Data":"aGk=","uploadPath":7}"#, "must be a string"),
    ] {
        let said = bench.kie("file-base64-upload", "application/json", body).await;
        assert_eq!(said.status, 400, "{body}");
        assert!(said.text().contains(word), "{body}: {}", said.text());
    }
}

#[tokio::test]
async fn a_form_may_have_its_file_first() {
    let bench = bench();
    let body = "--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"x.jpg\"\r\nContent-Type: image/jpeg\r\n\r\nhi\r\n\
                --b\r\nContent-Disposition: form-data; name=\"uploadPath\"\r\n\r\nimages\r\n\
                --b\r\nContent-Disposition: form-data; name=\"fileName\"\r\n\r\ny.jpg\r\n--b--\r\n";
    let said = bench.kie("file-stream-upload", "multipart/form-data; boundary=b", body).await;
    assert_eq!(said.status, 200, "{}", said.text());
    let data = &said.json()["data"];
    assert_eq!((data["fileName"].as_str(), data["mimeType"].as_str()), (Some("y.jpg"), Some("image/jpeg")));
    assert_eq!(bench.only_object(), b"hi");
}
