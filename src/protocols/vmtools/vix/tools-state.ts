/** GET_TOOLS_STATE: what the guest is and what can be asked of it (spec vmware.md section 7.10). */
import { tmpdir } from 'node:os';
import { type OsSource, osNames } from '../guest-info/os.ts';
import type { ToolsVersion } from '../tools-version.ts';
import { type Property, propertyList } from './results.ts';

const API_OPTIONS = 1;
const FAMILY_LINUX = 1;

/** The operations by number of their property, and which profiles serve them. */
const OPERATIONS: readonly (readonly [id: number, profile: 'both' | 'upstream' | 'neither'])[] = [
  [4540, 'both'], // start program
  [4541, 'both'], // list processes
  [4542, 'upstream'], // terminate process
  [4543, 'upstream'], // read environment variables
  [4544, 'both'], // validate credentials
  [4545, 'neither'], // acquire credentials
  [4546, 'neither'], // release credentials
  [4547, 'upstream'], // make directory
  [4548, 'upstream'], // delete file
  [4549, 'upstream'], // delete directory
  [4550, 'upstream'], // move directory
  [4551, 'upstream'], // move file
  [4552, 'upstream'], // create temporary file
  [4553, 'upstream'], // create temporary directory
  [4554, 'upstream'], // list files
  [4555, 'upstream'], // change file attributes
  [4556, 'neither'], // file transfer from guest
  [4557, 'neither'], // file transfer to guest
];

export function toolsState(options: {
  readonly os: OsSource;
  readonly hostname: string;
  readonly version: ToolsVersion;
  readonly compat: 'chr' | 'upstream';
}): string {
  const { os, hostname, version, compat } = options;
  const { fullName, shortName } = osNames(os);
  const properties: Property[] = [
    [4503, 'text', fullName],
    [4520, 'text', shortName],
    [4511, 'text', 'VMware Tools'],
    [4500, 'text', `${version.versionString} build-${version.buildNumber}`],
    [4505, 'text', hostname],
    [4501, 'int32', API_OPTIONS],
    [4502, 'int32', FAMILY_LINUX],
    [4504, 'text', ''],
    [203, 'text', tmpdir()],
    [4519, 'int32', 64],
    // the reference sends false for what is enabled
    ...OPERATIONS.map(
      ([id, profile]) =>
        [id, 'bool', profile === 'neither' || (profile === 'upstream' && compat === 'chr')] as const,
    ),
  ];
  return propertyList(properties);
}
