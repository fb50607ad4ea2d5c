/**
 * Replaces a user's authorized_keys as root, in a directory that the user controls: every step goes through the descriptor
 * of a directory that was opened without following links, so that a link to /etc leads nowhere. spec/qemu-ga.md section 5.
 */
import { randomBytes } from 'node:crypto';
import { constants } from 'node:fs';
import { type FileHandle, lchown, mkdir, open, rename, unlink } from 'node:fs/promises';
import { negativeErrno } from '../linux/system-error.ts';

export interface FileOwner {
  uid: number;
  gid: number;
}

const EPERM = 1;

/** 0 or -errno; -EPERM if `.ssh` is somebody else's. */
export async function replaceAuthorizedKeys(
  home: string,
  owner: FileOwner,
  content: string | Uint8Array,
): Promise<number> {
  try {
    await using homeDirectory = await open(home, constants.O_RDONLY | constants.O_DIRECTORY);
    await using directory = await openSshDirectory(homeDirectory, owner);
    const { uid } = await directory.stat();
    if (uid !== owner.uid) return -EPERM;
    await replaceFile(directory, 'authorized_keys', owner, content);
    return 0;
  } catch (error) {
    return negativeErrno(error);
  }
}

/** Path of an entry of an open directory. */
const within = (directory: FileHandle, name: string) => `/proc/self/fd/${directory.fd}/${name}`;

async function openSshDirectory(home: FileHandle, owner: FileOwner): Promise<FileHandle> {
  const path = within(home, '.ssh');
  const openIt = () => open(path, constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW);
  try {
    return await openIt();
  } catch (error) {
    if (!(error instanceof Error && 'code' in error && error.code === 'ENOENT')) throw error;
  }
  await mkdir(path, { mode: 0o700 });
  await lchown(path, owner.uid, owner.gid);
  return openIt();
}

/** Writes a new file beside the old one and renames it: a reader sees the old keys or the new ones. */
async function replaceFile(
  directory: FileHandle,
  name: string,
  owner: FileOwner,
  content: string | Uint8Array,
): Promise<void> {
  const temporary = within(directory, `.${name}.${randomBytes(8).toString('hex')}`);
  const flags = constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW;
  const file = await open(temporary, flags, 0o600);
  try {
    try {
      await file.chmod(0o600);
      await file.chown(owner.uid, owner.gid);
      await file.writeFile(content);
      await file.sync();
    } finally {
      await file.close();
    }
    await rename(temporary, within(directory, name));
  } catch (error) {
    await unlink(temporary).catch(() => {});
    throw error;
  }
  await directory.sync();
}
