/* Numbers and lines without stdio. */
#ifndef CHR_AGENT_TEXT_H
#define CHR_AGENT_TEXT_H

#include <stdbool.h>
#include <stddef.h>

/* A text that is built piece by piece; what does not fit is cut and `overflow` set. Always NUL-terminated. */
struct text {
	char *bytes;
	size_t capacity;
	size_t length;
	bool overflow;
};

#define TEXT_IN(array) { .bytes = (array), .capacity = sizeof(array) }

void text_add(struct text *text, const char *piece);
void text_add_number(struct text *text, long number);

/* The decimal number at `digits`, up to `end` (or the NUL if `end` is NULL); -1 if it is none or above INT_MAX. */
long parse_number(const char *digits, const char *end);

/* Writes the whole text; false if the other end is gone. */
bool write_text(int fd, const char *text);

#endif
