/** Names that do not repeat, also not after a restart. Not secret: files are made with O_EXCL, in directories of root's own. */
export function uniqueName(): string {
  return `${Date.now().toString(16)}-${process.hrtime.bigint().toString(16)}`;
}
