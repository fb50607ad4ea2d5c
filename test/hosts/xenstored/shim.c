/*
 * shim.c - run an unmodified C xenstored (Xen 4.17) on a machine without Xen.
 *
 * Preloaded into xenstored. It stands in for the hypervisor: event channels,
 * the grant-mapped ring page of every domain, the list of domains and the two
 * /proc/xen files that describe domain 0's own ring. For every introduced
 * domain it also plays the part of the guest's kernel: it owns the guest end
 * of that domain's ring and offers it to local programs as two unix sockets,
 *
 *   domU-<id>.sock         requests and replies passed on as they are
 *   domU-<id>.xenbus.sock  the same, with the habits of Linux's
 *                          /dev/xen/xenbus (see QUIRKS below)
 *
 * A program that connects to one of them IS that domain for xenstored: its
 * relative paths start at /local/domain/<id> and that domain's permissions
 * and quotas apply.
 *
 * A text socket, ctl.sock, stands in for the domain builder:
 *   create ID | destroy ID | shutdown ID | rebind OLD NEW | list
 * one command a line, one answer line ("ok ..." or "error ...").
 *
 * Everything lives in the folder named by XENSTORED_RUNDIR.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define PAGE 4096
#define RING 1024
#define MAXDOM 4096
#define MAXPORT 16384
#define PAYLOAD_MAX 4096

enum { OP_WATCH = 4, OP_UNWATCH = 5, OP_TX_START = 6, OP_TX_END = 7,
       OP_WATCH_EVENT = 15, OP_ERROR = 16 };

struct hdr { uint32_t type, req, tx, len; };

/* One 4 KiB page: two byte queues and four free-running counters. */
struct ring {
	char to_store[RING], from_store[RING];
	volatile uint32_t to_cons, to_prod, from_cons, from_prod;
	volatile uint32_t features, state, error;
};

struct guest;
struct client;

struct pending {                /* a request on its way through the ring */
	struct pending *next;
	uint32_t id, orig, type, tx;
	struct client *c;           /* NULL: nobody waits for the answer */
	struct watch *w;
	bool ended_ok;
};

struct watch {
	struct watch *next;
	uint32_t id;
	struct client *c;
	char *path, *token;
	bool live;
};

struct txn { struct txn *next; uint32_t id; };

struct outbuf { struct outbuf *next; size_t len, off; char data[]; };

struct client {
	struct client *next;
	struct guest *g;
	int fd, refs;
	bool quirks, dead;
	struct txn *txns;
	struct outbuf *head, **tail;
	pthread_cond_t more;
};

struct guest {
	unsigned domid;             /* the domain it is at present */
	struct ring *r;
	pthread_mutex_t lock;       /* guards everything in here */
	pthread_mutex_t send_lock;  /* one whole message at a time */
	pthread_cond_t wake;        /* the store moved a counter */
	uint32_t next_id, next_watch;
	unsigned generation;        /* counts rebinds */
	bool gone;
	struct pending *pend;
	struct watch *watches;
	struct client *clients;
};

struct dom {
	bool exists, shutdown;
	struct ring *page;
	struct guest *guest;
};

static struct dom doms[MAXDOM];
static int port_dom[MAXPORT];           /* local port -> domid, -1 free */
static pthread_mutex_t big = PTHREAD_MUTEX_INITIALIZER;
static int evpipe[2] = { -1, -1 };
static char rundir[256];
static bool chatty, old_kernel;

#define PORT_VIRQ 1
#define PORT_DOM0 2

static void say(const char *fmt, ...)
{
	va_list ap;
	if (!chatty)
		return;
	va_start(ap, fmt);
	fprintf(stderr, "shim: ");
	vfprintf(stderr, fmt, ap);
	fputc('\n', stderr);
	va_end(ap);
}

static void spawn(void *(*fn)(void *), void *arg)
{
	pthread_t t;
	sigset_t all, old;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	if (pthread_create(&t, NULL, fn, arg) == 0)
		pthread_detach(t);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
}

/* Raise an event channel on xenstored's side. */
static void raise_port(uint32_t port)
{
	ssize_t n = write(evpipe[1], &port, sizeof(port));
	(void)n;
}

static void raise_domain(unsigned domid)
{
	uint32_t p, hit = 0;

	pthread_mutex_lock(&big);
	for (p = 3; p < MAXPORT; p++)
		if (port_dom[p] == (int)domid)
			hit = p;
	pthread_mutex_unlock(&big);
	if (hit)
		raise_port(hit);
}

/* ------------------------------------------------ the guest kernel's part */

/* Copy a whole message into the ring; waits for room. Called with send_lock. */
static bool ring_send(struct guest *g, const void *buf, size_t len)
{
	const char *p = buf;
	unsigned gen = g->generation;

	while (len) {
		uint32_t prod, room, at, n;

		pthread_mutex_lock(&g->lock);
		while (!g->gone && g->generation == gen &&
		       g->r->to_prod - g->r->to_cons == RING) {
			struct timespec ts;
			clock_gettime(CLOCK_REALTIME, &ts);
			ts.tv_nsec += 20000000;
			if (ts.tv_nsec >= 1000000000)
				ts.tv_sec++, ts.tv_nsec -= 1000000000;
			pthread_cond_timedwait(&g->wake, &g->lock, &ts);
		}
		if (g->gone || g->generation != gen) {
			pthread_mutex_unlock(&g->lock);
			return false;
		}
		prod = g->r->to_prod;
		room = RING - (prod - g->r->to_cons);
		at = prod % RING;
		n = RING - at;
		if (n > room)
			n = room;
		if (n > len)
			n = len;
		memcpy(g->r->to_store + at, p, n);
		__sync_synchronize();
		g->r->to_prod = prod + n;
		pthread_mutex_unlock(&g->lock);
		raise_domain(g->domid);
		p += n;
		len -= n;
	}
	return true;
}

static bool ring_recv(struct guest *g, void *buf, size_t len, unsigned *gen)
{
	char *p = buf;

	while (len) {
		uint32_t cons, have, at, n;

		pthread_mutex_lock(&g->lock);
		while (!g->gone && g->generation == *gen &&
		       g->r->from_prod == g->r->from_cons) {
			struct timespec ts;
			clock_gettime(CLOCK_REALTIME, &ts);
			ts.tv_nsec += 20000000;
			if (ts.tv_nsec >= 1000000000)
				ts.tv_sec++, ts.tv_nsec -= 1000000000;
			pthread_cond_timedwait(&g->wake, &g->lock, &ts);
		}
		if (g->gone || g->generation != *gen) {
			pthread_mutex_unlock(&g->lock);
			return false;
		}
		cons = g->r->from_cons;
		have = g->r->from_prod - cons;
		at = cons % RING;
		n = RING - at;
		if (n > have)
			n = have;
		if (n > len)
			n = len;
		memcpy(p, g->r->from_store + at, n);
		__sync_synchronize();
		g->r->from_cons = cons + n;
		pthread_mutex_unlock(&g->lock);
		raise_domain(g->domid);
		p += n;
		len -= n;
	}
	return true;
}

static void push(struct client *c, uint32_t type, uint32_t req, uint32_t tx,
		 const void *body, uint32_t len)    /* with g->lock */
{
	struct outbuf *o;
	struct hdr h = { type, req, tx, len };

	if (c->dead)
		return;
	o = malloc(sizeof(*o) + sizeof(h) + len);
	o->next = NULL;
	o->off = 0;
	o->len = sizeof(h) + len;
	memcpy(o->data, &h, sizeof(h));
	memcpy(o->data + sizeof(h), body, len);
	*c->tail = o;
	c->tail = &o->next;
	pthread_cond_signal(&c->more);
}

/* with g->lock */
static void unref(struct client *c)
{
	struct client **pp;

	if (--c->refs)
		return;
	for (pp = &c->g->clients; *pp; pp = &(*pp)->next)
		if (*pp == c) {
			*pp = c->next;
			break;
		}
	while (c->head) {
		struct outbuf *o = c->head;
		c->head = o->next;
		free(o);
	}
	while (c->txns) {
		struct txn *t = c->txns;
		c->txns = t->next;
		free(t);
	}
	close(c->fd);
	free(c);
}

/* Register a request under a fresh id. */
static uint32_t enlist(struct guest *g, struct client *c, uint32_t orig,
		       uint32_t type, uint32_t tx, struct watch *w, bool end_ok)
{
	struct pending *p = calloc(1, sizeof(*p));

	pthread_mutex_lock(&g->lock);
	p->id = ++g->next_id;
	p->orig = orig;
	p->type = type;
	p->tx = tx;
	p->c = c;
	p->w = w;
	p->ended_ok = end_ok;
	if (c)
		c->refs++;
	p->next = g->pend;
	g->pend = p;
	pthread_mutex_unlock(&g->lock);
	return p->id;
}

static bool send_msg(struct guest *g, uint32_t type, uint32_t id, uint32_t tx,
		     const void *body, uint32_t len)
{
	char buf[sizeof(struct hdr) + PAYLOAD_MAX];
	struct hdr h = { type, id, tx, len };
	bool ok;

	memcpy(buf, &h, sizeof(h));
	memcpy(buf + sizeof(h), body, len);
	pthread_mutex_lock(&g->send_lock);
	ok = ring_send(g, buf, sizeof(h) + len);
	pthread_mutex_unlock(&g->send_lock);
	return ok;
}

static uint32_t watch_body(struct watch *w, char *buf)
{
	return sprintf(buf, "%s%cW%08x", w->path, 0, w->id) + 1;
}

static void send_watch(struct guest *g, struct client *c, uint32_t orig,
		       uint32_t type, struct watch *w)
{
	char body[PAYLOAD_MAX];
	uint32_t n = watch_body(w, body);
	uint32_t id = enlist(g, c, orig, type, 0, w, false);

	send_msg(g, type, id, 0, body, n);
}

static void drop_watch(struct guest *g, struct watch *w)   /* with g->lock */
{
	struct watch **pp;

	for (pp = &g->watches; *pp; pp = &(*pp)->next)
		if (*pp == w) {
			*pp = w->next;
			free(w->path);
			free(w->token);
			free(w);
			return;
		}
}

/* Answers and events coming out of the ring. */
static void *reader(void *arg)
{
	struct guest *g = arg;
	char body[PAYLOAD_MAX + 1];
	struct hdr h;
	unsigned gen = 0;

	for (;;) {
		if (g->gone)
			return NULL;
		if (!ring_recv(g, &h, sizeof(h), &gen) || h.len > PAYLOAD_MAX ||
		    !ring_recv(g, body, h.len, &gen)) {
			gen = g->generation;    /* another ring, start anew */
			continue;
		}
		body[h.len] = 0;
		pthread_mutex_lock(&g->lock);
		if (h.type == OP_WATCH_EVENT) {
			char *tok = body + strlen(body) + 1;
			struct watch *w;
			uint32_t id = tok[0] == 'W' ? strtoul(tok + 1, NULL, 16) : 0;

			for (w = g->watches; w; w = w->next)
				if (w->id == id && w->c) {
					char out[2 * PAYLOAD_MAX];
					uint32_t n = sprintf(out, "%s%c%s", body, 0, w->token) + 1;
					push(w->c, OP_WATCH_EVENT, 0, 0, out, n);
				}
		} else {
			struct pending **pp, *p = NULL;

			for (pp = &g->pend; *pp; pp = &(*pp)->next)
				if ((*pp)->id == h.req) {
					p = *pp;
					*pp = p->next;
					break;
				}
			if (p) {
				struct client *c = p->c;

				if (p->w && p->type == OP_WATCH && h.type == OP_ERROR)
					drop_watch(g, p->w);
				if (p->w && p->type == OP_UNWATCH)
					drop_watch(g, p->w);
				if (c) {
					if (h.type == OP_TX_START) {
						struct txn *t = malloc(sizeof(*t));
						t->id = strtoul(body, NULL, 10);
						t->next = c->txns;
						c->txns = t;
					}
					if (p->type == OP_TX_END) {
						struct txn **tp;
						for (tp = &c->txns; *tp; tp = &(*tp)->next)
							if ((*tp)->id == p->tx) {
								struct txn *t = *tp;
								*tp = t->next;
								free(t);
								break;
							}
					}
					if (c->quirks && old_kernel && h.type != OP_ERROR &&
					    (p->type == OP_WATCH || p->type == OP_UNWATCH))
						push(c, h.type, 0, 0, body, h.len);
					else
						push(c, h.type, p->orig, h.tx, body, h.len);
					unref(c);
				}
				free(p);
			}
		}
		pthread_mutex_unlock(&g->lock);
	}
}

static void *client_out(void *arg)
{
	struct client *c = arg;
	struct guest *g = c->g;

	pthread_mutex_lock(&g->lock);
	for (;;) {
		struct outbuf *o;
		ssize_t n;

		while (!c->head && !c->dead)
			pthread_cond_wait(&c->more, &g->lock);
		if (c->dead)
			break;
		o = c->head;
		pthread_mutex_unlock(&g->lock);
		n = send(c->fd, o->data + o->off, o->len - o->off, MSG_NOSIGNAL);
		pthread_mutex_lock(&g->lock);
		if (n <= 0) {
			c->dead = true;
			shutdown(c->fd, SHUT_RDWR);
			break;
		}
		o->off += n;
		if (o->off == o->len) {
			c->head = o->next;
			if (!c->head)
				c->tail = &c->head;
			free(o);
		}
	}
	unref(c);
	pthread_mutex_unlock(&g->lock);
	return NULL;
}

static bool read_all(int fd, void *buf, size_t len)
{
	char *p = buf;

	while (len) {
		ssize_t n = read(fd, p, len);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return false;
		p += n;
		len -= n;
	}
	return true;
}

static void answer(struct client *c, uint32_t type, uint32_t req, uint32_t tx,
		   const char *text)
{
	pthread_mutex_lock(&c->g->lock);
	push(c, type, req, tx, text, strlen(text) + 1);
	pthread_mutex_unlock(&c->g->lock);
}

/*
 * QUIRKS (the .xenbus.sock only), as /dev/xen/xenbus of a Linux 6.1 guest was
 * seen to have them: a request of more than 4096 bytes header included is
 * refused (there: EINVAL from write; here: the connection ends); the same path
 * and token may be watched twice; an UNWATCH of something unknown is a success.
 * With SHIM_OLD_KERNEL set, WATCH and UNWATCH are answered with request id 0,
 * as kernels before 4.11 are said to.
 */
static void *client_in(void *arg)
{
	struct client *c = arg;
	struct guest *g = c->g;
	char body[PAYLOAD_MAX + 1];
	struct hdr h;
	struct watch *w;

	while (read_all(c->fd, &h, sizeof(h))) {
		if (h.len > PAYLOAD_MAX ||
		    (c->quirks && h.len + sizeof(h) > PAYLOAD_MAX))
			break;          /* xenstored would drop us as well */
		if (!read_all(c->fd, body, h.len))
			break;
		body[h.len] = 0;

		if (c->quirks && h.tx) {
			bool known = false;
			struct txn *t;

			pthread_mutex_lock(&g->lock);
			for (t = c->txns; t; t = t->next)
				known |= t->id == h.tx;
			pthread_mutex_unlock(&g->lock);
			if (!known) {
				answer(c, OP_ERROR, h.req, h.tx, "ENOENT");
				continue;
			}
		}
		if (c->quirks && h.type == OP_TX_END &&
		    !(h.len == 2 && (!strcmp(body, "T") || !strcmp(body, "F")))) {
			answer(c, OP_ERROR, h.req, h.tx, "EINVAL");
			continue;
		}

		if (h.type == OP_WATCH || h.type == OP_UNWATCH) {
			size_t pl = strlen(body) + 1;

			if (pl >= h.len || !memchr(body + pl, 0, h.len - pl)) {
				answer(c, OP_ERROR, h.req, h.tx, "EINVAL");
				continue;
			}
			pthread_mutex_lock(&g->lock);
			for (w = g->watches; w; w = w->next)
				if (w->c == c && w->live && !strcmp(w->path, body) &&
				    !strcmp(w->token, body + pl))
					break;
			if (h.type == OP_UNWATCH) {
				if (w)
					w->live = false;
				pthread_mutex_unlock(&g->lock);
				if (w)
					send_watch(g, c, h.req, OP_UNWATCH, w);
				else if (c->quirks)
					answer(c, OP_UNWATCH, old_kernel ? 0 : h.req, 0, "OK");
				else
					answer(c, OP_ERROR, h.req, h.tx, "ENOENT");
				continue;
			}
			if (w && !c->quirks) {
				pthread_mutex_unlock(&g->lock);
				answer(c, OP_ERROR, h.req, h.tx, "EEXIST");
				continue;
			}
			w = calloc(1, sizeof(*w));
			w->id = ++g->next_watch;
			w->c = c;
			w->path = strdup(body);
			w->token = strdup(body + pl);
			w->live = true;
			w->next = g->watches;
			g->watches = w;
			pthread_mutex_unlock(&g->lock);
			send_watch(g, c, h.req, OP_WATCH, w);
			continue;
		}

		send_msg(g, h.type, enlist(g, c, h.req, h.type, h.tx, NULL, false),
			 h.tx, body, h.len);
	}

	/* Closed: end what it left open, as the kernel does on the last close. */
	pthread_mutex_lock(&g->lock);
	c->dead = true;
	shutdown(c->fd, SHUT_RDWR);
	pthread_cond_signal(&c->more);
	for (;;) {
		struct txn *t = c->txns;

		if (t) {
			uint32_t id = t->id;
			c->txns = t->next;
			free(t);
			pthread_mutex_unlock(&g->lock);
			send_msg(g, OP_TX_END, enlist(g, NULL, 0, OP_TX_END, id, NULL, false),
				 id, "F", 2);
			pthread_mutex_lock(&g->lock);
			continue;
		}
		for (w = g->watches; w; w = w->next)
			if (w->c == c)
				break;
		if (!w)
			break;
		w->c = NULL;
		if (!w->live)
			continue;
		w->live = false;
		pthread_mutex_unlock(&g->lock);
		send_watch(g, NULL, 0, OP_UNWATCH, w);
		pthread_mutex_lock(&g->lock);
	}
	unref(c);
	pthread_mutex_unlock(&g->lock);
	return NULL;
}

struct listener { struct guest *g; int fd; bool quirks; char path[300]; };

/* The socket appears under its name only when one can connect to it. */
static int listen_on(const char *path)
{
	struct sockaddr_un sa = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0 || strlen(path) + 5 > sizeof(sa.sun_path))
		return -1;
	strcpy(sa.sun_path, path);
	strcat(sa.sun_path, ".new");
	unlink(sa.sun_path);
	if (bind(fd, (void *)&sa, sizeof(sa)) || listen(fd, 64) ||
	    rename(sa.sun_path, path)) {
		perror(path);
		close(fd);
		return -1;
	}
	return fd;
}

static void *acceptor(void *arg)
{
	struct listener *l = arg;
	struct guest *g = l->g;

	for (;;) {
		struct pollfd pf = { l->fd, POLLIN, 0 };
		struct client *c;
		int fd;

		if (g->gone)
			break;
		if (poll(&pf, 1, 200) <= 0)
			continue;
		fd = accept4(l->fd, NULL, NULL, SOCK_CLOEXEC);
		if (fd < 0)
			continue;
		c = calloc(1, sizeof(*c));
		c->g = g;
		c->fd = fd;
		c->quirks = l->quirks;
		c->refs = 2;            /* one for each of its two threads */
		c->tail = &c->head;
		pthread_cond_init(&c->more, NULL);
		pthread_mutex_lock(&g->lock);
		c->next = g->clients;
		g->clients = c;
		pthread_mutex_unlock(&g->lock);
		spawn(client_out, c);
		spawn(client_in, c);
	}
	/* The domain is no more, and so is every program in it. */
	pthread_mutex_lock(&g->lock);
	for (struct client *c = g->clients; c; c = c->next) {
		c->dead = true;
		shutdown(c->fd, SHUT_RDWR);
		pthread_cond_signal(&c->more);
	}
	pthread_mutex_unlock(&g->lock);
	close(l->fd);
	unlink(l->path);
	free(l);
	return NULL;
}

static void open_door(struct guest *g, bool quirks)
{
	struct listener *l = calloc(1, sizeof(*l));

	l->g = g;
	l->quirks = quirks;
	snprintf(l->path, sizeof(l->path), "%s/domU-%u%s.sock", rundir, g->domid,
		 quirks ? ".xenbus" : "");
	l->fd = listen_on(l->path);
	if (l->fd < 0)
		free(l);
	else
		spawn(acceptor, l);
}

static struct guest *new_guest(unsigned domid, struct ring *r)
{
	struct guest *g = calloc(1, sizeof(*g));

	g->domid = domid;
	g->r = r;
	pthread_mutex_init(&g->lock, NULL);
	pthread_mutex_init(&g->send_lock, NULL);
	pthread_cond_init(&g->wake, NULL);
	spawn(reader, g);
	open_door(g, false);
	open_door(g, true);
	return g;
}

/* ------------------------------------------- what xenstored asks Xen for */

static void set_up(void)
{
	static bool done;
	const char *d = getenv("XENSTORED_RUNDIR");
	int i;

	if (done)
		return;
	done = true;
	chatty = getenv("SHIM_TRACE") != NULL;
	old_kernel = getenv("SHIM_OLD_KERNEL") != NULL;
	snprintf(rundir, sizeof(rundir), "%s", d ? d : ".");
	for (i = 0; i < MAXPORT; i++)
		port_dom[i] = -1;
	if (pipe2(evpipe, O_CLOEXEC) < 0)
		abort();
	doms[0].exists = true;
	port_dom[PORT_VIRQ] = 0;
	port_dom[PORT_DOM0] = 0;
}

static int ctl_one(int fd, char *line)
{
	char verb[16] = "";
	unsigned a = 0, b = 0;
	int n = sscanf(line, "%15s %u %u", verb, &a, &b);

	if (n < 1)
		return 0;
	if (!strcmp(verb, "list")) {
		unsigned i;
		dprintf(fd, "ok");
		for (i = 0; i < MAXDOM; i++)
			if (doms[i].exists)
				dprintf(fd, " %u%s", i, doms[i].shutdown ? "(shutdown)" : "");
		dprintf(fd, "\n");
		return 0;
	}
	if (n < 2 || a == 0 || a >= MAXDOM)
		return dprintf(fd, "error bad domain id\n");
	if (!strcmp(verb, "create")) {
		if (doms[a].exists)
			return dprintf(fd, "error domain %u exists\n", a);
		doms[a].exists = true;
		doms[a].shutdown = false;
		return dprintf(fd, "ok\n");
	}
	if (!doms[a].exists)
		return dprintf(fd, "error no domain %u\n", a);
	if (!strcmp(verb, "destroy")) {
		doms[a].exists = false;
		raise_port(PORT_VIRQ);
		return dprintf(fd, "ok\n");
	}
	if (!strcmp(verb, "shutdown")) {
		doms[a].shutdown = true;
		raise_port(PORT_VIRQ);
		return dprintf(fd, "ok\n");
	}
	if (!strcmp(verb, "rebind")) {
		/*
		 * The guest of domain A wakes up as domain B (a resume or a
		 * migration): open files stay open, the ring and its watches do
		 * not, so the kernel's part registers every watch again.
		 */
		struct guest *g = doms[a].guest, *old;
		struct watch *w;
		uint32_t ids[1024], i, k = 0;

		if (n < 3 || b >= MAXDOM || !doms[b].exists || !doms[b].page || !g)
			return dprintf(fd, "error rebind needs two introduced domains\n");
		old = doms[b].guest;
		if (old) {
			old->gone = true;
			usleep(300000);     /* its sockets close first */
		}
		pthread_mutex_lock(&g->send_lock);
		pthread_mutex_lock(&g->lock);
		g->r = doms[b].page;
		g->domid = b;
		g->generation++;
		while (g->pend) {           /* requests lost with the old ring */
			struct pending *p = g->pend;
			g->pend = p->next;
			if (p->c) {
				push(p->c, OP_ERROR, p->orig, p->tx, "EAGAIN", 7);
				unref(p->c);
			}
			free(p);
		}
		for (w = g->watches; w && k < 1024; w = w->next)
			if (w->live && w->c)
				ids[k++] = w->id;
		doms[b].guest = g;
		doms[a].guest = NULL;
		pthread_mutex_unlock(&g->lock);
		pthread_mutex_unlock(&g->send_lock);
		open_door(g, false);
		open_door(g, true);
		for (i = 0; i < k; i++) {
			for (w = g->watches; w; w = w->next)
				if (w->id == ids[i])
					send_watch(g, NULL, 0, OP_WATCH, w);
		}
		return dprintf(fd, "ok %u watches registered again\n", k);
	}
	return dprintf(fd, "error unknown command\n");
}

static void *control(void *arg)
{
	char path[300];
	int s;

	(void)arg;
	snprintf(path, sizeof(path), "%s/ctl.sock", rundir);
	s = listen_on(path);
	while (s >= 0) {
		int fd = accept4(s, NULL, NULL, SOCK_CLOEXEC);
		FILE *f = fd >= 0 ? fdopen(dup(fd), "r") : NULL;
		char line[256];

		while (f && fgets(line, sizeof(line), f))
			ctl_one(fd, line);
		if (f)
			fclose(f);
		if (fd >= 0)
			close(fd);
	}
	return NULL;
}

static char handle[16];

void *xenevtchn_open(void *logger, unsigned flags)
{
	(void)logger; (void)flags;
	set_up();
	spawn(control, NULL);
	return handle;
}

void *xenevtchn_fdopen(void *logger, int fd, unsigned flags)
{
	(void)logger; (void)fd; (void)flags;
	errno = ENOSYS;
	return NULL;
}

int xenevtchn_close(void *h) { (void)h; return 0; }
int xenevtchn_fd(void *h) { (void)h; return evpipe[0]; }

int xenevtchn_notify(void *h, uint32_t port)
{
	struct guest *g = NULL;

	(void)h;
	pthread_mutex_lock(&big);
	if (port < MAXPORT && port_dom[port] > 0)
		g = doms[port_dom[port]].guest;
	pthread_mutex_unlock(&big);
	if (g) {
		pthread_mutex_lock(&g->lock);
		pthread_cond_broadcast(&g->wake);
		pthread_mutex_unlock(&g->lock);
	}
	return 0;
}

int xenevtchn_bind_interdomain(void *h, uint32_t domid, uint32_t remote)
{
	int p;

	(void)h; (void)remote;
	if (domid == 0)
		return PORT_DOM0;
	pthread_mutex_lock(&big);
	for (p = 3; p < MAXPORT; p++)
		if (port_dom[p] < 0) {
			port_dom[p] = domid;
			break;
		}
	pthread_mutex_unlock(&big);
	say("event channel %d for domain %u", p, domid);
	raise_port(p);
	return p;
}

int xenevtchn_bind_virq(void *h, unsigned virq)
{
	(void)h; (void)virq;
	return PORT_VIRQ;
}

int xenevtchn_unbind(void *h, uint32_t port)
{
	(void)h;
	pthread_mutex_lock(&big);
	if (port >= 3 && port < MAXPORT)
		port_dom[port] = -1;
	pthread_mutex_unlock(&big);
	return 0;
}

int xenevtchn_pending(void *h)
{
	uint32_t port;

	(void)h;
	if (read(evpipe[0], &port, sizeof(port)) != sizeof(port))
		return -1;
	return port;
}

int xenevtchn_unmask(void *h, uint32_t port) { (void)h; (void)port; return 0; }

void *xengnttab_open(void *logger, unsigned flags)
{
	(void)logger; (void)flags;
	set_up();
	return handle;
}

int xengnttab_close(void *h) { (void)h; return 0; }
int xengnttab_set_max_grants(void *h, uint32_t n) { (void)h; (void)n; return 0; }

void *xengnttab_map_grant_ref(void *h, uint32_t domid, uint32_t ref, int prot)
{
	struct ring *r;

	(void)h; (void)ref; (void)prot;
	if (domid == 0 || domid >= MAXDOM || !doms[domid].exists) {
		errno = EINVAL;
		return NULL;
	}
	r = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (r == MAP_FAILED)
		return NULL;
	doms[domid].page = r;
	doms[domid].guest = new_guest(domid, r);
	say("ring of domain %u mapped", domid);
	return r;
}

int xengnttab_unmap(void *h, void *addr, uint32_t count)
{
	unsigned d;

	(void)h; (void)count;
	pthread_mutex_lock(&big);
	for (d = 1; d < MAXDOM; d++)
		if (doms[d].page == addr) {
			if (doms[d].guest)
				doms[d].guest->gone = true;
			doms[d].guest = NULL;
			doms[d].page = NULL;
		}
	pthread_mutex_unlock(&big);
	return 0;               /* the page stays: its threads may still look */
}

void *xc_interface_open(void *a, void *b, unsigned c)
{
	(void)a; (void)b; (void)c;
	set_up();
	return handle;
}

int xc_interface_close(void *h) { (void)h; return 0; }

/* The leading members of 4.17's xc_dominfo_t; the rest is left zero. */
struct info { uint32_t domid, ssidref; unsigned bits, reason; };
#define INFO_SHUTDOWN (1u << 2)

int xc_domain_getinfo(void *h, uint32_t first, unsigned max, struct info *out)
{
	unsigned d;

	(void)h;
	if (!max)
		return 0;
	for (d = first; d < MAXDOM; d++)
		if (doms[d].exists) {
			memset(out, 0, sizeof(*out));
			out->domid = d;
			if (doms[d].shutdown)
				out->bits |= INFO_SHUTDOWN;
			return 1;
		}
	return 0;
}

/* Domain 0's ring and port are files under /proc/xen on a real host. */
int open(const char *path, int flags, ...)
{
	static int (*real)(const char *, int, ...);
	va_list ap;
	int mode = 0;

	if (!real)
		real = dlsym(RTLD_NEXT, "open");
	if (flags & (O_CREAT | O_TMPFILE)) {
		va_start(ap, flags);
		mode = va_arg(ap, int);
		va_end(ap);
	}
	if (!strcmp(path, "/proc/xen/xsd_port")) {
		int fd = memfd_create("xsd_port", MFD_CLOEXEC);
		if (fd >= 0 && (dprintf(fd, "%d", PORT_DOM0) < 0 || lseek(fd, 0, SEEK_SET) < 0))
			return -1;
		return fd;
	}
	if (!strcmp(path, "/proc/xen/xsd_kva")) {
		int fd = memfd_create("xsd_kva", MFD_CLOEXEC);
		if (fd >= 0 && ftruncate(fd, PAGE) < 0)
			return -1;
		return fd;
	}
	return real(path, flags, mode);
}

/* Some sandboxes lack the right to raise limits; xenstored needs none. */
int setrlimit(__rlimit_resource_t what, const struct rlimit *lim)
{
	(void)what; (void)lim;
	return 0;
}
