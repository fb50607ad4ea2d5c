/** Errors that go on the wire, with QEMU's classes and wording (spec qemu-ga.md section 3). */

/** The only two classes that leave a guest agent. */
export type QapiErrorClass = 'GenericError' | 'CommandNotFound';

export class QapiError extends Error {
  override name = 'QapiError';
  readonly errorClass: QapiErrorClass;

  constructor(description: string, errorClass: QapiErrorClass = 'GenericError') {
    super(description);
    this.errorClass = errorClass;
  }
}
