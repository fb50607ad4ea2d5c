/** Accounts of a guest of its own, below a directory: /etc/passwd, shadow, group and shells. Never those of this machine. */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

/** Of all accounts that have one. */
export const PASSWORD = 'S3cret pw';
/** A cheap one, by crypt(3). */
export const PASSWORD_HASH =
  '$6$rounds=1000$chragent$zyWNkknKSHFphooiokY2Njfjjc8S35ulD.Dh3C7nWQuXDF9iFwUyh1yjZ5iy1ir1d6/rWw3Cpb3IYE9eMII4f0';

/** Ids that no program of this machine has. */
export const USER_ID = 64_123;
export const GROUP_ID = 64_124;

const PASSWD = `root:x:0:0:root:/root:/bin/sh
operator:x:${USER_ID}:${GROUP_ID}:Operator:/:/bin/sh
admin:x:64200:64200:No password:/:/bin/sh
stranger:x:64201:64201:In no group that may:/:/bin/sh
locked:x:64202:64202:Locked:/:/bin/sh
starred:x:64203:64203:Never had one:/:/bin/sh
expired:x:64204:64204:Closed:/:/bin/sh
stale:x:64205:64205:Password too old:/:/bin/sh
change:x:64206:64206:Password to be changed:/:/bin/sh
shellless:x:64207:64207:No login:/:/usr/sbin/nologin
unshadowed:x:64208:64208:Not in the shadow file:/:/bin/sh
old:${PASSWORD_HASH}:64209:64209:Hash in the passwd file:/:/bin/sh
+nis:x:64210:64210::/:/bin/sh
`;

const SHADOW = `root:${PASSWORD_HASH}:19000:0:99999:7:::
operator:${PASSWORD_HASH}:19000:0:99999:7:::
admin::19000:0:99999:7:::
stranger:${PASSWORD_HASH}:19000:0:99999:7:::
locked:!${PASSWORD_HASH}:19000:0:99999:7:::
starred:*:19000:0:99999:7:::
expired:${PASSWORD_HASH}:19000:0:99999:7::19001:
stale:${PASSWORD_HASH}:10000:0:30:7:::
change:${PASSWORD_HASH}:0:0:99999:7:::
shellless:${PASSWORD_HASH}:19000:0:99999:7:::
`;

const REFUSED = ['locked', 'starred', 'expired', 'stale', 'change', 'shellless', 'unshadowed', 'old'];

const GROUP = `root:x:0:
operator:x:${GROUP_ID}:
extra:x:64125:operator
chr-agent:x:64126:operator,${REFUSED.join(',')}
`;

/** Makes the files. @returns the directory */
export function makeAccounts(root: string, changes: Readonly<Record<string, string>> = {}): string {
  mkdirSync(join(root, 'etc'), { recursive: true });
  const files = { passwd: PASSWD, shadow: SHADOW, group: GROUP, shells: '# comment\n/bin/sh\n/bin/bash\n' };
  for (const [name, text] of Object.entries({ ...files, ...changes }))
    writeFileSync(join(root, 'etc', name), text, { mode: name === 'shadow' ? 0o600 : 0o644 });
  return root;
}
