/** What beside-stock-agent.ts asks both agents. */

const base64 = (text: string) => Buffer.from(text).toString('base64');

/** What leaves the guest as it was; both must answer the same. Not here: guest-suspend-hybrid, of which 7.2 has
 * another error text. */
export const requests: readonly (readonly [string, string, Record<string, unknown>])[] = [
  ['processors', 'guest-get-vcpus', {}],
  ['no processors', 'guest-set-vcpus', { vcpus: [] }],
  ['an unknown processor', 'guest-set-vcpus', { vcpus: [{ 'logical-id': 99, online: false }] }],
  ['an unknown processor, on', 'guest-set-vcpus', { vcpus: [{ 'logical-id': 99, online: true }] }],
  ['the first processor', 'guest-set-vcpus', { vcpus: [{ 'logical-id': 0, online: false }] }],
  ['the first processor, on', 'guest-set-vcpus', { vcpus: [{ 'logical-id': 0, online: true }] }],
  [
    'one processor that can, one that is not there',
    'guest-set-vcpus',
    {
      vcpus: [
        { 'logical-id': 1, online: false },
        { 'logical-id': 99, online: false },
      ],
    },
  ],
  ['the processor back', 'guest-set-vcpus', { vcpus: [{ 'logical-id': 1, online: true }] }],
  ['no member online', 'guest-set-vcpus', { vcpus: [{ 'logical-id': 1 }] }],
  ['memory blocks', 'guest-get-memory-blocks', {}],
  ['size of memory blocks', 'guest-get-memory-block-info', {}],
  [
    'an unknown memory block',
    'guest-set-memory-blocks',
    { 'mem-blks': [{ 'phys-index': 9999, online: false }] },
  ],
  [
    'password of nobody',
    'guest-set-user-password',
    { username: 'nobody-there', password: base64('x'), crypted: false },
  ],
  [
    'password of nobody, crypted',
    'guest-set-user-password',
    { username: 'nobody-there', password: base64('x'), crypted: true },
  ],
  [
    'password with a newline',
    'guest-set-user-password',
    { username: 'root', password: base64('a\nb'), crypted: false },
  ],
  [
    'user with a colon',
    'guest-set-user-password',
    { username: 'ro:ot', password: base64('x'), crypted: false },
  ],
  [
    'user with a newline',
    'guest-set-user-password',
    { username: 'ro\not', password: base64('x'), crypted: false },
  ],
  [
    'password that is not base64',
    'guest-set-user-password',
    { username: 'root', password: '*', crypted: false },
  ],
  ['no crypted', 'guest-set-user-password', { username: 'root', password: base64('x') }],
  ['keys of a user without a file', 'guest-ssh-get-authorized-keys', { username: 'root' }],
  ['a comment as key', 'guest-ssh-add-authorized-keys', { username: 'root', keys: ['# no'] }],
  ['two lines as key', 'guest-ssh-add-authorized-keys', { username: 'root', keys: ['a\nb'] }],
  [
    'keys to remove where there are none',
    'guest-ssh-remove-authorized-keys',
    { username: 'root', keys: ['a'] },
  ],
  ['a time that is none', 'guest-set-time', { time: -1e18 }],
  ['status', 'guest-fsfreeze-status', {}],
  ['an empty list of mount points', 'guest-fsfreeze-freeze-list', { mountpoints: [] }],
  [
    'mount points that are none',
    'guest-fsfreeze-freeze-list',
    { mountpoints: ['/no/such', '/proc', '/usr'] },
  ],
  ['thaw of what is not frozen', 'guest-fsfreeze-thaw', {}],
  ['an unknown shutdown mode', 'guest-shutdown', { mode: 'explode' }],
];

/** What only reads. Beside the machine's own test since here the disks are behind PCI. */
export const readings = [
  ...['guest-get-host-name', 'guest-get-osinfo', 'guest-get-timezone', 'guest-network-get-interfaces'],
  ...['guest-get-users', 'guest-get-disks', 'guest-get-fsinfo', 'guest-get-cpustats', 'guest-get-diskstats'],
];
const NEW_TIME_S = 1_900_000_000;
const key = (name: string) => `ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI${name} ${name}@host`;
const minutesOff = `for now in $(date +%s) $(cat /sys/class/rtc/rtc0/since_epoch); do
  echo $(((now - ${NEW_TIME_S}) / 60)); done`;

/** What changes the guest: each agent does it from the same start, and the guest looks the same afterwards. */
export const courses: readonly {
  readonly title: string;
  readonly before: string;
  readonly requests: readonly (readonly [string, Record<string, unknown>])[];
  readonly look: string;
}[] = [
  {
    title: 'keys',
    before: 'rm -rf /root/.ssh',
    requests: [
      ['guest-ssh-add-authorized-keys', { username: 'root', keys: [key('A'), key('B')] }],
      ['guest-ssh-add-authorized-keys', { username: 'root', keys: [key('B'), key('C')] }],
      ['guest-ssh-get-authorized-keys', { username: 'root' }],
      ['guest-ssh-remove-authorized-keys', { username: 'root', keys: [key('A'), key('none')] }],
      ['guest-ssh-get-authorized-keys', { username: 'root' }],
      ['guest-ssh-add-authorized-keys', { username: 'root', keys: [key('D')], reset: true }],
      ['guest-ssh-get-authorized-keys', { username: 'root' }],
    ],
    look: "cd /root/.ssh && stat -c '%U %G %a' . authorized_keys && cat authorized_keys",
  },
  {
    title: 'a password',
    before: "usermod -p '*' root",
    requests: [
      ['guest-set-user-password', { username: 'root', password: base64('p w:\u00e9'), crypted: false }],
    ],
    look: `p=$(grep '^root:' /etc/shadow | cut -d: -f2) &&
      perl -e 'exit(crypt("p w:\\xc3\\xa9", $ARGV[0]) ne $ARGV[0])' "$p" && echo "\${p%%"\${p#???}"}"`,
  },
  {
    title: 'a crypted password',
    before: "usermod -p '*' root",
    requests: [['guest-set-user-password', { username: 'root', password: base64('$6$a$b'), crypted: true }]],
    look: "grep '^root:' /etc/shadow | cut -d: -f2",
  },
  {
    title: 'a processor',
    before: 'echo 1 > /sys/devices/system/cpu/cpu1/online',
    requests: [
      ['guest-set-vcpus', { vcpus: [{ 'logical-id': 1, online: false }] }],
      ['guest-get-vcpus', {}],
    ],
    look: 'cat /sys/devices/system/cpu/online; echo 1 > /sys/devices/system/cpu/cpu1/online',
  },
  {
    title: 'memory that is there',
    before: 'true',
    requests: [['guest-set-memory-blocks', { 'mem-blks': [{ 'phys-index': 0, online: true }] }]],
    look: 'cat /sys/devices/system/memory/memory0/state',
  },
  {
    title: 'a time',
    before: 'date -s @1800000000 && hwclock -w',
    requests: [['guest-set-time', { time: NEW_TIME_S * 1e9 }]],
    look: minutesOff,
  },
  {
    title: "the hardware clock's time",
    before: `date -s @${NEW_TIME_S} && hwclock -w && date -s @1800000000`,
    requests: [['guest-set-time', {}]],
    look: minutesOff,
  },
  {
    title: 'trim',
    before:
      'head -c 9000000 /dev/urandom > /srv/data/waste && sync -f /srv/data && rm /srv/data/waste && sync -f /srv/data',
    requests: [
      ['guest-fstrim', {}],
      ['guest-fstrim', { minimum: 1 << 20 }],
    ],
    look: 'true',
  },
];
