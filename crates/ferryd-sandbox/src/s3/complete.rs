//! A completion: the parts that it names become an object.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use md5::{Digest, Md5};
use quick_xml::Reader;
use quick_xml::escape::{escape, resolve_predefined_entity};
use quick_xml::events::Event;

use super::super::Shared;
use super::super::digest::hex;
use super::super::exchange::Answer;
use super::super::log::Outcome;
use super::super::objects::{Piece, Wanted};
use super::bytes::Algorithm;
use super::listing::sound;
use super::{
    Call, Fault, KIND, Meta, NAMESPACE, SecondCompletion, Taken, Upload, last_name, object_id, object_record, upload,
    upload_record, xml,
};

/// A part as a completion names it.
#[derive(Debug, Default)]
struct Named {
    number: u64,
    etag: String,
    checksum: Option<(Algorithm, String)>,
}

impl Call {
    pub(super) fn complete(&self, shared: &Shared, id: &str) -> Result<Answer, Fault> {
        if self.request.header("content-type").is_some_and(|kind| kind == "application/x-www-form-urlencoded") {
            return Err(Fault::bad("InvalidRequest", "a completion is no form"));
        }
        let named = read(&self.text).map_err(|why| Fault::bad("MalformedXML", why))?;
        let upload = upload(shared, id, &self.key).map_err(|fault| match self.rules.second_completion {
            SecondCompletion::NoSuchUpload => fault,
            SecondCompletion::AccessDenied => Fault::denied("Access Denied"),
        })?;
        let parts = self.parts(&named, &sound(shared, id, &upload)?, &upload)?;
        self.heeded(shared)?;
        let pieces: Vec<Piece> =
            parts.iter().map(|(number, bytes, _)| Piece { part: number - 1, from: 0, bytes: *bytes }).collect();
        let bytes = pieces.iter().map(|piece| piece.bytes).sum::<u64>();
        if self.request.header("x-amz-mp-object-size").is_some_and(|told| told.parse() != Ok(bytes)) {
            return Err(Fault::bad("InvalidRequest", "the size of the object is another one"));
        }
        let checksum = self.checksum_of_whole(shared, id, &upload, &parts)?;
        let etag = match parts.iter().map(|(_, _, taken)| unhex(&taken.etag)).collect::<Option<Vec<_>>>() {
            Some(digests) if self.rules.etag_is_md5 => format!("{}-{}", hex(&Md5::digest(digests.concat())), parts.len()),
            _ => format!("{:032x}-{}", shared.chance.number(), parts.len()),
        };
        let wanted = Wanted { id: &object_id(&self.key), name: last_name(&self.key), md5: None };
        let object = shared.store.finish_ranges(KIND, id, wanted, |_| Ok(pieces))?;
        let told = checksum.as_ref().map(|(algorithm, told)| (algorithm.header().to_owned(), told.clone()));
        let (key, version) = (self.key.clone(), self.version(shared));
        let meta = Meta { key, headers: upload.headers, etag: etag.clone(), checksum: told, version };
        shared.records.set(KIND, &object_record(&object.id), &meta)?;
        shared.store.forget_session(KIND, id)?;
        shared.records.remove(KIND, &upload_record(id))?;
        let etag = if self.lies { format!("{}-1", "0".repeat(32)) } else { etag };
        let checksum = checksum.map_or(String::new(), |(algorithm, told)| {
            let told = if self.lies { algorithm.of_bytes(b"another") } else { told };
            format!("<Checksum{0}>{told}</Checksum{0}>", algorithm.name())
        });
        let key = escape(self.key.as_str());
        let reply = xml(
            200,
            &format!(
                "<CompleteMultipartUploadResult xmlns=\"{NAMESPACE}\"><Key>{key}</Key><ETag>&quot;{etag}&quot;</ETag>{checksum}\
                 </CompleteMultipartUploadResult>"
            ),
        );
        Ok(Answer { held: true, ..Answer::plain(meta.told_in(reply), Outcome::Stored) })
    }

    /// The parts that are named, as they are held.
    fn parts(&self, named: &[Named], held: &[(u64, u64, Taken)], upload: &Upload) -> Result<Vec<(u64, u64, Taken)>, Fault> {
        if !named.windows(2).all(|pair| pair[0].number < pair[1].number) {
            return Err(Fault::bad("InvalidPartOrder", "the parts are not in ascending order"));
        }
        let mut parts = Vec::new();
        for Named { number, etag, checksum } in named {
            let is_it = |(held, _, taken): &&(u64, u64, Taken)| held == number && taken.etag == etag.trim_matches('"');
            let part = held
                .iter()
                .find(is_it)
                .ok_or_else(|| Fault::bad("InvalidPart", format!("part {number} is not there, or has another ETag")))?;
            let own = upload.checksum.and_then(|(algorithm, _)| Some((algorithm, part.2.checksum.clone()?)));
            if checksum.is_some() && upload.checksum.is_some() && *checksum != own {
                return Err(Fault::bad("InvalidPart", format!("part {number} has another checksum")));
            }
            if checksum.is_none() && upload.checksum.is_some_and(|(_, is_whole)| !is_whole) {
                return Err(Fault::bad("InvalidRequest", format!("the checksum of part {number} is missing")));
            }
            parts.push(part.clone());
        }
        let (Some(first), Some(last)) = (parts.first(), parts.last()) else {
            return Err(Fault::bad("MalformedXML", "no part is named"));
        };
        let size = first.1;
        if let Some((number, ..)) = parts.iter().find(|part| part.0 != last.0 && part.1 < self.rules.part_bytes_min) {
            return Err(Fault::bad("EntityTooSmall", format!("part {number} is smaller than the minimum")));
        }
        // Some stores take parts of one size only.
        if parts.iter().any(|part| if part.0 == last.0 { part.1 > size } else { part.1 != size }) {
            return Err(Fault::bad("InvalidPart", "all parts but the last must have the same size"));
        }
        Ok(parts)
    }

    /// The checksum that the object has: one of all bytes, which must be what was told; or one of those of its parts.
    fn checksum_of_whole(
        &self,
        shared: &Shared,
        id: &str,
        upload: &Upload,
        parts: &[(u64, u64, Taken)],
    ) -> Result<Option<(Algorithm, String)>, Fault> {
        let Some((algorithm, is_whole)) = upload.checksum else { return Ok(None) };
        if !is_whole {
            let digests = parts.iter().filter_map(|(_, _, taken)| STANDARD.decode(taken.checksum.as_ref()?).ok());
            let told = algorithm.of_bytes(&digests.collect::<Vec<_>>().concat());
            return Ok(Some((algorithm, format!("{told}-{}", parts.len()))));
        }
        let announced = self.announced()?;
        if announced.is_some() && self.request.header("x-amz-checksum-type") != Some("FULL_OBJECT") {
            return Err(Fault::bad("InvalidRequest", "the upload was created with another type of checksum"));
        }
        let files: Option<Vec<_>> = parts.iter().map(|(number, ..)| shared.store.part_path(KIND, id, number - 1)).collect();
        let own = files.map(|files| algorithm.of_files(shared, &files)).transpose()?;
        match (own, announced) {
            (Some(own), Some((_, told))) if own != told => Err(Fault::bad("BadDigest", "the checksum is not that of the object")),
            (Some(own), _) => Ok(Some((algorithm, own))),
            (None, told) => Ok(told),
        }
    }
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits = text.as_bytes().chunks(2);
    digits.map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()).collect()
}

/// The parts that a completion names.
fn read(text: &str) -> Result<Vec<Named>, String> {
    let (mut path, mut fields, mut parts): (Vec<String>, BTreeMap<String, String>, _) = (Vec::new(), BTreeMap::new(), Vec::new());
    let mut reader = Reader::from_str(text);
    reader.config_mut().expand_empty_elements = true;
    let mut ended = false;
    loop {
        let said = match reader.read_event().map_err(|error| format!("the XML cannot be read: {error}"))? {
            Event::Start(start) => {
                let is_root = path.is_empty();
                path.push(start.name().into_inner().to_owned());
                if is_root && !start.attributes().flatten().any(|attribute| attribute.value == NAMESPACE) {
                    return Err("the root has another namespace".into());
                }
                let steps: Vec<&str> = path.iter().map(String::as_str).collect();
                let known = match steps.as_slice() {
                    ["CompleteMultipartUpload"] | ["CompleteMultipartUpload", "Part"] => true,
                    ["CompleteMultipartUpload", "Part", field] => {
                        matches!(*field, "PartNumber" | "ETag")
                            || field.strip_prefix("Checksum").and_then(Algorithm::of_name).is_some()
                    }
                    _ => false,
                };
                if ended || !known || fields.contains_key(&path[path.len() - 1]) {
                    return Err(format!("`{}` does not belong here", path.join("/")));
                }
                continue;
            }
            Event::End(_) => {
                path.pop();
                ended = path.is_empty();
                if path.len() == 1 {
                    parts.push(part(std::mem::take(&mut fields))?);
                }
                continue;
            }
            Event::Text(text) => text.xml10_content().into_owned(),
            Event::GeneralRef(name) => match name.resolve_char_ref() {
                Ok(Some(char)) => char.to_string(),
                _ => resolve_predefined_entity(&name).ok_or("an entity is unknown")?.to_owned(),
            },
            Event::Decl(_) => continue,
            Event::Eof if ended => return Ok(parts),
            _ => return Err("the XML ends too early, or has what a completion has not".into()),
        };
        match path.as_slice() {
            [_, _, field] => fields.entry(field.clone()).or_default().push_str(&said),
            _ if said.trim().is_empty() => {}
            _ => return Err("there is text between the elements".into()),
        }
    }
}

fn part(mut fields: BTreeMap<String, String>) -> Result<Named, String> {
    let number = fields.remove("PartNumber").and_then(|number| number.parse().ok()).ok_or("a part has no number")?;
    let etag = fields.remove("ETag").ok_or("a part has no ETag")?;
    let checksum = fields.pop_first();
    if !fields.is_empty() {
        return Err("a part has more than one checksum".into());
    }
    let algorithm = |(field, told): (String, String)| Some((Algorithm::of_name(field.strip_prefix("Checksum")?)?, told));
    Ok(Named { number, etag, checksum: checksum.and_then(algorithm) })
}
