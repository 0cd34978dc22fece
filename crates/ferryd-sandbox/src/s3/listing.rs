//! Lists: of a bucket, of the uploads that are open in it, and of the parts of one.

use std::fmt::Write;
use std::io::Read;
use std::time::{Duration, UNIX_EPOCH};

use md5::{Digest, Md5};
use quick_xml::escape::escape;

use super::super::Shared;
use super::super::digest::hex;
use super::super::exchange::Answer;
use super::super::reply::Reply;
use super::{Call, Fault, KIND, Meta, NAMESPACE, Rules, Taken, Upload, object_record, served, upload, xml};

/// The first objects of the bucket.
pub(super) fn bucket(shared: &Shared, rules: &Rules) -> Result<Reply, Fault> {
    let mut objects = shared.store.objects().into_iter().filter(|object| object.host == KIND);
    let (first, more) = (objects.next(), objects.next().is_some());
    let meta = |id: &str| shared.records.get::<Meta>(KIND, &object_record(id)).unwrap_or_default();
    let contents = first.as_ref().map_or(String::new(), |object| {
        format!("<Contents><Key>{}</Key><Size>{}</Size></Contents>", escape(meta(&object.id).key.as_str()), object.bytes)
    });
    let (name, count) = (escape(rules.bucket.as_str()), usize::from(first.is_some()));
    Ok(xml(
        200,
        &format!(
            "<ListBucketResult xmlns=\"{NAMESPACE}\"><Name>{name}</Name><KeyCount>{count}</KeyCount><MaxKeys>1</MaxKeys>\
             <IsTruncated>{more}</IsTruncated>{contents}</ListBucketResult>"
        ),
    ))
}

/// The parts whose bytes are still those that came: with their lengths, by their numbers.
pub(super) fn sound(shared: &Shared, id: &str, upload: &Upload) -> std::io::Result<Vec<(u64, u64, Taken)>> {
    let mut sound = Vec::new();
    for (part, bytes) in shared.store.parts(KIND, id) {
        let number = part + 1;
        let Some(taken) = upload.parts.get(&number) else { continue };
        let is_same = match (shared.store.part_path(KIND, id, part), &taken.md5) {
            (Some(path), Some(md5)) => {
                let mut content = Vec::new();
                shared.store.open_file(&path)?.read_to_end(&mut content)?;
                hex(&Md5::digest(&content)) == *md5
            }
            _ => true,
        };
        if is_same {
            sound.push((number, bytes, taken.clone()));
        }
    }
    Ok(sound)
}

/// A time as lists have it.
fn time(ms: i64) -> String {
    let ms = u64::try_from(ms).unwrap_or(0);
    let text = httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_millis(ms));
    let words: Vec<&str> = text.split(' ').collect();
    let [_, day, month, year, time, _] = words.as_slice() else { return String::new() };
    let month = "JanFebMarAprMayJunJulAugSepOctNovDec".find(month).map_or(0, |at| at / 3 + 1);
    format!("{year}-{month:02}-{day}T{time}.{:03}Z", ms % 1000)
}

impl Call {
    /// The uploads that are open, by key and id.
    pub(super) fn uploads(&self, shared: &Shared) -> Result<Answer, Fault> {
        let asked = |name: &str| self.query.get(name).map(String::as_str).unwrap_or_default();
        let wrong = || Fault::bad("InvalidArgument", "`max-uploads` must be a number from 1 to 1000");
        let most = match asked("max-uploads") {
            "" => 1000,
            text => text.parse().ok().filter(|most| (1..=1000).contains(most)).ok_or_else(wrong)?,
        };
        let (prefix, key_marker, id_marker) = (asked("prefix"), asked("key-marker"), asked("upload-id-marker"));
        let record =
            |name: String| Some((shared.records.get::<Upload>(KIND, &name)?, name.trim_start_matches("upload-").to_owned()));
        let is_behind = |key: &str, id: &str| {
            key_marker.is_empty() || key > key_marker || (key == key_marker && !id_marker.is_empty() && id > id_marker)
        };
        let mut open: Vec<(Upload, String)> = shared.records.names(KIND, "upload-").into_iter().filter_map(record).collect();
        open.retain(|(upload, id)| upload.key.starts_with(prefix) && is_behind(&upload.key, id));
        open.sort_by(|(one, id), (other, other_id)| (&one.key, id).cmp(&(&other.key, other_id)));
        let page = &open[..open.len().min(most).min(self.rules.listed_max)];
        let mut listed = String::new();
        for (upload, id) in page {
            let (key, time) = (escape(upload.key.as_str()), time(upload.opened_ms));
            write!(listed, "<Upload><Key>{key}</Key><UploadId>{id}</UploadId><Initiated>{time}</Initiated></Upload>").ok();
        }
        let next = page.last().filter(|_| page.len() < open.len()).map_or(String::new(), |(upload, id)| {
            let key = escape(upload.key.as_str());
            format!("<NextKeyMarker>{key}</NextKeyMarker><NextUploadIdMarker>{id}</NextUploadIdMarker>")
        });
        let (bucket, more) = (escape(self.rules.bucket.as_str()), page.len() < open.len());
        Ok(served(xml(
            200,
            &format!(
                "<ListMultipartUploadsResult xmlns=\"{NAMESPACE}\"><Bucket>{bucket}</Bucket><MaxUploads>{most}</MaxUploads>\
                 <IsTruncated>{more}</IsTruncated>{next}{listed}</ListMultipartUploadsResult>"
            ),
        )))
    }

    pub(super) fn list(&self, shared: &Shared, id: &str) -> Result<Answer, Fault> {
        let upload = upload(shared, id, &self.key)?;
        let number = |name: &str, default: u64| match self.query.get(name) {
            None => Ok(default),
            Some(text) => text.parse().map_err(|_| Fault::bad("InvalidArgument", format!("`{name}` is no number"))),
        };
        let (most, marker) = (number("max-parts", 1000)?, number("part-number-marker", 0)?);
        let most = usize::try_from(most).unwrap_or(usize::MAX).min(self.rules.listed_max);
        let parts = sound(shared, id, &upload)?;
        let behind: Vec<_> = parts.iter().filter(|(number, ..)| *number > marker).collect();
        let element = upload.checksum.map(|(algorithm, _)| format!("Checksum{}", algorithm.name()));
        let mut listed = String::new();
        for (number, bytes, taken) in behind.iter().take(most) {
            let checksum = element.as_ref().zip(taken.checksum.as_ref());
            let checksum = checksum.map_or(String::new(), |(element, told)| format!("<{element}>{told}</{element}>"));
            let etag = &taken.etag;
            write!(
                listed,
                "<Part><PartNumber>{number}</PartNumber><ETag>&quot;{etag}&quot;</ETag><Size>{bytes}</Size>{checksum}</Part>"
            )
            .ok();
        }
        let last = behind.iter().take(most).next_back().map_or(marker, |(number, ..)| *number);
        let (key, more) = (escape(self.key.as_str()), behind.len() > most);
        Ok(served(xml(
            200,
            &format!(
                "<ListPartsResult xmlns=\"{NAMESPACE}\"><Key>{key}</Key><UploadId>{id}</UploadId><PartNumberMarker>{marker}\
                 </PartNumberMarker><NextPartNumberMarker>{last}</NextPartNumberMarker><MaxParts>{most}</MaxParts>\
                 <IsTruncated>{more}</IsTruncated>{listed}</ListPartsResult>"
            ),
        )))
    }
}
