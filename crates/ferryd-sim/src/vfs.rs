//! The C interface through which SQLite uses a [`Disk`]: each function finds the disk and the file, and calls
//! the safe code there. See "The SQLite OS Interface or VFS" in SQLite's documentation for what each of them is asked.
#![expect(unsafe_code, reason = "SQLite hands over pointers")]

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Once, Weak};

use rusqlite::ffi;

use crate::disk::{Disk, DiskError, Level, Mounted, Shared};

/// The longest name of a file.
const NAME_BYTES_MAX: c_int = 512;

/// The name under which SQLite finds this disk, for as long as a clone of it or a connection lives.
pub fn mount(disk: &Disk) -> String {
    disk.mounted(|shared| {
        let registration = Registration::new(shared);
        Mounted { name: registration.name.to_string_lossy().into_owned(), _guard: Box::new(registration) }
    })
}

/// The most that SQLite takes of a connection's own memory at once, and how often: compiling a statement needs many small pieces.
const PIECES: (c_int, c_int) = (1200, 400);

/// A world opens a queue for each life, and asks each statement only a few times, so most of what SQLite does is compiling them. Threads
/// that run worlds would wait for each other to count the memory for that.
fn configure() {
    // SAFETY: the arguments are those that SQLite's documentation names for the two options. Where SQLite is in use already, it refuses,
    // and works as before.
    unsafe {
        ffi::sqlite3_config(ffi::SQLITE_CONFIG_MEMSTATUS, 0 as c_int);
        ffi::sqlite3_config(ffi::SQLITE_CONFIG_LOOKASIDE, PIECES.0, PIECES.1);
    }
}

/// A disk that SQLite knows by a name, until this is dropped.
struct Registration {
    vfs: *mut ffi::sqlite3_vfs,
    name: CString,
}

// SAFETY: the pointer is used only to unregister and free, by whoever owns the registration; SQLite's list of them has its own
// lock.
unsafe impl Send for Registration {}

/// What SQLite keeps for an open file; it begins with what SQLite itself looks at.
#[repr(C)]
struct SqliteFile {
    base: ffi::sqlite3_file,
    open: *mut OpenFile,
}

struct OpenFile {
    disk: Arc<Shared>,
    name: String,
    handle: u64,
    remove_on_close: bool,
}

static METHODS: ffi::sqlite3_io_methods = ffi::sqlite3_io_methods {
    iVersion: 2,
    xClose: Some(close),
    xRead: Some(read),
    xWrite: Some(write),
    xTruncate: Some(truncate),
    xSync: Some(sync),
    xFileSize: Some(file_size),
    xLock: Some(lock),
    xUnlock: Some(unlock),
    xCheckReservedLock: Some(check_reserved_lock),
    xFileControl: Some(file_control),
    xSectorSize: Some(sector_size),
    xDeviceCharacteristics: Some(device_characteristics),
    xShmMap: Some(shm_map),
    xShmLock: Some(shm_lock),
    xShmBarrier: Some(shm_barrier),
    xShmUnmap: Some(shm_unmap),
    xFetch: None,
    xUnfetch: None,
};

impl Registration {
    fn new(disk: Weak<Shared>) -> Registration {
        static CONFIGURED: Once = Once::new();
        CONFIGURED.call_once(configure);
        static REGISTERED: AtomicU64 = AtomicU64::new(0);
        let name = format!("ferryd-sim-{}", REGISTERED.fetch_add(1, Ordering::Relaxed));
        let name = CString::new(name).unwrap_or_default();
        let vfs = ffi::sqlite3_vfs {
            iVersion: 2,
            szOsFile: size_of::<SqliteFile>() as c_int,
            mxPathname: NAME_BYTES_MAX,
            pNext: std::ptr::null_mut(),
            zName: name.as_ptr(),
            pAppData: Box::into_raw(Box::new(disk)).cast(),
            xOpen: Some(open),
            xDelete: Some(delete),
            xAccess: Some(access),
            xFullPathname: Some(full_pathname),
            xDlOpen: None,
            xDlError: None,
            xDlSym: None,
            xDlClose: None,
            xRandomness: Some(randomness),
            xSleep: Some(sleep),
            xCurrentTime: None,
            xGetLastError: None,
            xCurrentTimeInt64: Some(current_time),
            xSetSystemCall: None,
            xGetSystemCall: None,
            xNextSystemCall: None,
        };
        let vfs = Box::into_raw(Box::new(vfs));
        // SAFETY: the structure and the name it points to live until `drop` has unregistered it.
        let done = unsafe { ffi::sqlite3_vfs_register(vfs, 0) };
        assert_eq!(done, ffi::SQLITE_OK, "SQLite registers a file system");
        Registration { vfs, name }
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        // SAFETY: `new` made both allocations, and no file is open any more: each of them keeps the disk, whose end this is.
        unsafe {
            ffi::sqlite3_vfs_unregister(self.vfs);
            drop(Box::from_raw((*self.vfs).pAppData.cast::<Weak<Shared>>()));
            drop(Box::from_raw(self.vfs));
        }
    }
}

/// The disk of a file system.
///
/// # Safety
///
/// `vfs` is one of ours.
unsafe fn disk_of(vfs: *mut ffi::sqlite3_vfs) -> Option<Arc<Shared>> {
    // SAFETY: `new` set it, and `drop` frees it only after SQLite has forgotten the file system.
    unsafe { (*(*vfs).pAppData.cast::<Weak<Shared>>()).upgrade() }
}

/// An open file.
///
/// # Safety
///
/// `file` was opened by [`open`] and is not closed.
unsafe fn opened<'a>(file: *mut ffi::sqlite3_file) -> &'a OpenFile {
    // SAFETY: `open` has put it there.
    unsafe { &*(*file.cast::<SqliteFile>()).open }
}

/// # Safety
///
/// `name` is null or ends with a zero.
unsafe fn text(name: *const c_char) -> Option<String> {
    // SAFETY: the caller says so.
    (!name.is_null()).then(|| unsafe { CStr::from_ptr(name) }.to_string_lossy().into_owned())
}

fn code(done: Result<(), DiskError>, io: c_int) -> c_int {
    match done {
        Ok(()) => ffi::SQLITE_OK,
        Err(DiskError::Full) => ffi::SQLITE_FULL,
        Err(DiskError::Busy) => ffi::SQLITE_BUSY,
        Err(DiskError::NotFound) => ffi::SQLITE_IOERR_DELETE_NOENT,
        Err(DiskError::Io) => io,
    }
}

fn level(number: c_int) -> Level {
    match number {
        ffi::SQLITE_LOCK_SHARED => Level::Shared,
        ffi::SQLITE_LOCK_RESERVED => Level::Reserved,
        ffi::SQLITE_LOCK_PENDING => Level::Pending,
        ffi::SQLITE_LOCK_EXCLUSIVE => Level::Exclusive,
        _ => Level::None,
    }
}

// SAFETY of the functions below: SQLite calls them with a file system of ours, with files that `open` has opened, with names that
// end with a zero, and with buffers of the lengths it says.

unsafe extern "C" fn open(
    vfs: *mut ffi::sqlite3_vfs,
    name: *const c_char,
    file: *mut ffi::sqlite3_file,
    flags: c_int,
    flags_out: *mut c_int,
) -> c_int {
    unsafe {
        (*file).pMethods = std::ptr::null();
        let Some(disk) = disk_of(vfs) else { return ffi::SQLITE_CANTOPEN };
        let name = text(name).unwrap_or_else(|| format!("/temporary-{file:p}"));
        let handle = match disk.state().open(&name, flags & ffi::SQLITE_OPEN_CREATE != 0) {
            Ok(handle) => handle,
            Err(DiskError::Full) => return ffi::SQLITE_FULL,
            Err(_) => return ffi::SQLITE_CANTOPEN,
        };
        let remove_on_close = flags & ffi::SQLITE_OPEN_DELETEONCLOSE != 0;
        let ours = file.cast::<SqliteFile>();
        (*ours).open = Box::into_raw(Box::new(OpenFile { disk, name, handle, remove_on_close }));
        (*ours).base.pMethods = &METHODS;
        if !flags_out.is_null() {
            *flags_out = flags;
        }
    }
    ffi::SQLITE_OK
}

unsafe extern "C" fn delete(vfs: *mut ffi::sqlite3_vfs, name: *const c_char, _: c_int) -> c_int {
    unsafe {
        let (Some(disk), Some(name)) = (disk_of(vfs), text(name)) else { return ffi::SQLITE_IOERR_DELETE };
        let done = disk.state().remove(&name);
        code(done, ffi::SQLITE_IOERR_DELETE)
    }
}

unsafe extern "C" fn access(vfs: *mut ffi::sqlite3_vfs, name: *const c_char, _: c_int, answer: *mut c_int) -> c_int {
    unsafe {
        let (Some(disk), Some(name)) = (disk_of(vfs), text(name)) else { return ffi::SQLITE_IOERR_ACCESS };
        *answer = c_int::from(disk.state().exists(&name));
    }
    ffi::SQLITE_OK
}

unsafe extern "C" fn full_pathname(_: *mut ffi::sqlite3_vfs, name: *const c_char, room: c_int, into: *mut c_char) -> c_int {
    unsafe {
        let name = CStr::from_ptr(name).to_bytes_with_nul();
        if name.len() > room as usize {
            return ffi::SQLITE_CANTOPEN;
        }
        std::ptr::copy_nonoverlapping(name.as_ptr().cast(), into, name.len());
    }
    ffi::SQLITE_OK
}

unsafe extern "C" fn randomness(vfs: *mut ffi::sqlite3_vfs, bytes: c_int, into: *mut c_char) -> c_int {
    unsafe {
        let Some(disk) = disk_of(vfs) else { return 0 };
        disk.state().fill_with_chance(std::slice::from_raw_parts_mut(into.cast(), bytes as usize));
    }
    bytes
}

/// Nobody else is there to be waited for.
unsafe extern "C" fn sleep(_: *mut ffi::sqlite3_vfs, microseconds: c_int) -> c_int {
    microseconds
}

/// The time of day is the daemon's business, which never asks SQLite for it.
unsafe extern "C" fn current_time(_: *mut ffi::sqlite3_vfs, into: *mut ffi::sqlite3_int64) -> c_int {
    unsafe { *into = 0 };
    ffi::SQLITE_OK
}

unsafe extern "C" fn close(file: *mut ffi::sqlite3_file) -> c_int {
    unsafe {
        let ours = file.cast::<SqliteFile>();
        let open = Box::from_raw((*ours).open);
        (*ours).base.pMethods = std::ptr::null();
        let mut disk = open.disk.state();
        disk.close(&open.name, open.handle);
        if open.remove_on_close {
            // It may be gone already.
            disk.remove(&open.name).ok();
        }
    }
    ffi::SQLITE_OK
}

unsafe extern "C" fn read(file: *mut ffi::sqlite3_file, into: *mut c_void, bytes: c_int, offset: ffi::sqlite3_int64) -> c_int {
    unsafe {
        let open = opened(file);
        let into = std::slice::from_raw_parts_mut(into.cast::<u8>(), bytes as usize);
        match open.disk.state().read(&open.name, open.handle, offset as usize, into) {
            Ok(read) if read == into.len() => ffi::SQLITE_OK,
            Ok(read) => {
                // SQLite asks for this: what is not there is read as zeros.
                into[read..].fill(0);
                ffi::SQLITE_IOERR_SHORT_READ
            }
            Err(error) => code(Err(error), ffi::SQLITE_IOERR_READ),
        }
    }
}

unsafe extern "C" fn write(file: *mut ffi::sqlite3_file, from: *const c_void, bytes: c_int, offset: ffi::sqlite3_int64) -> c_int {
    unsafe {
        let open = opened(file);
        let from = std::slice::from_raw_parts(from.cast::<u8>(), bytes as usize);
        let done = open.disk.step().and_then(|()| open.disk.state().write(&open.name, open.handle, offset as usize, from));
        code(done, ffi::SQLITE_IOERR_WRITE)
    }
}

unsafe extern "C" fn truncate(file: *mut ffi::sqlite3_file, size: ffi::sqlite3_int64) -> c_int {
    unsafe {
        let open = opened(file);
        let done = open.disk.step().and_then(|()| open.disk.state().truncate(&open.name, open.handle, size as usize));
        code(done, ffi::SQLITE_IOERR_TRUNCATE)
    }
}

unsafe extern "C" fn sync(file: *mut ffi::sqlite3_file, _: c_int) -> c_int {
    unsafe {
        let open = opened(file);
        let done = open.disk.step().and_then(|()| open.disk.state().sync(&open.name, open.handle));
        code(done, ffi::SQLITE_IOERR_FSYNC)
    }
}

unsafe extern "C" fn file_size(file: *mut ffi::sqlite3_file, into: *mut ffi::sqlite3_int64) -> c_int {
    unsafe {
        let open = opened(file);
        let size = open.disk.state().size(&open.name, open.handle);
        *into = size.unwrap_or(0) as ffi::sqlite3_int64;
        code(size.map(drop), ffi::SQLITE_IOERR_FSTAT)
    }
}

unsafe extern "C" fn lock(file: *mut ffi::sqlite3_file, wanted: c_int) -> c_int {
    unsafe {
        let open = opened(file);
        let done = open.disk.state().lock(&open.name, open.handle, level(wanted));
        code(done, ffi::SQLITE_IOERR_LOCK)
    }
}

unsafe extern "C" fn unlock(file: *mut ffi::sqlite3_file, wanted: c_int) -> c_int {
    unsafe {
        let open = opened(file);
        let done = open.disk.state().unlock(&open.name, open.handle, level(wanted));
        code(done, ffi::SQLITE_IOERR_UNLOCK)
    }
}

unsafe extern "C" fn check_reserved_lock(file: *mut ffi::sqlite3_file, answer: *mut c_int) -> c_int {
    unsafe {
        let open = opened(file);
        let reserved = open.disk.state().is_reserved(&open.name, open.handle);
        *answer = c_int::from(reserved == Ok(true));
        code(reserved.map(drop), ffi::SQLITE_IOERR_CHECKRESERVEDLOCK)
    }
}

unsafe extern "C" fn file_control(_: *mut ffi::sqlite3_file, _: c_int, _: *mut c_void) -> c_int {
    ffi::SQLITE_NOTFOUND
}

unsafe extern "C" fn sector_size(_: *mut ffi::sqlite3_file) -> c_int {
    4096
}

/// Nothing is promised beyond what a sync does.
unsafe extern "C" fn device_characteristics(_: *mut ffi::sqlite3_file) -> c_int {
    0
}

unsafe extern "C" fn shm_map(
    file: *mut ffi::sqlite3_file,
    region: c_int,
    bytes: c_int,
    make: c_int,
    into: *mut *mut c_void,
) -> c_int {
    unsafe {
        let open = opened(file);
        let found = open.disk.state().region(&open.name, open.handle, region as usize, bytes as usize, make != 0);
        *into = found.unwrap_or_default().unwrap_or(std::ptr::null_mut()).cast();
        code(found.map(drop), ffi::SQLITE_IOERR_SHMMAP)
    }
}

unsafe extern "C" fn shm_lock(file: *mut ffi::sqlite3_file, first: c_int, count: c_int, flags: c_int) -> c_int {
    let mask = (((1_u32 << count) - 1) << first) as u8;
    unsafe {
        let open = opened(file);
        let mut disk = open.disk.state();
        let done = if flags & ffi::SQLITE_SHM_UNLOCK != 0 {
            disk.unlock_memory(&open.name, open.handle, mask)
        } else {
            disk.lock_memory(&open.name, open.handle, mask, flags & ffi::SQLITE_SHM_EXCLUSIVE != 0)
        };
        code(done, ffi::SQLITE_IOERR_SHMLOCK)
    }
}

unsafe extern "C" fn shm_barrier(_: *mut ffi::sqlite3_file) {
    std::sync::atomic::fence(Ordering::SeqCst);
}

unsafe extern "C" fn shm_unmap(file: *mut ffi::sqlite3_file, remove: c_int) -> c_int {
    unsafe {
        let open = opened(file);
        let done = open.disk.state().unmap(&open.name, open.handle, remove != 0);
        code(done, ffi::SQLITE_IOERR_SHMMAP)
    }
}
