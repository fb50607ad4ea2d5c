#include "text.h"

#include <errno.h>
#include <limits.h>
#include <string.h>
#include <unistd.h>

void text_add(struct text *text, const char *piece)
{
	size_t length = strlen(piece);
	if (length >= text->capacity - text->length) {
		length = text->capacity - text->length - 1;
		text->overflow = true;
	}
	memcpy(text->bytes + text->length, piece, length);
	text->length += length;
	text->bytes[text->length] = '\0';
}

void text_add_number(struct text *text, long number)
{
	char digits[24];
	char *at = digits + sizeof digits - 1;
	unsigned long rest = number < 0 ? -(unsigned long)number : (unsigned long)number;
	*at = '\0';
	do {
		*--at = (char)('0' + rest % 10);
		rest /= 10;
	} while (rest > 0);
	if (number < 0)
		*--at = '-';
	text_add(text, at);
}

long parse_number(const char *digits, const char *end)
{
	long number = 0;
	if (digits == end || *digits == '\0')
		return -1;
	for (; digits != end && *digits != '\0'; digits++) {
		if (*digits < '0' || *digits > '9')
			return -1;
		number = number * 10 + (*digits - '0');
		if (number > INT_MAX)
			return -1;
	}
	return number;
}

bool write_text(int fd, const char *text)
{
	size_t left = strlen(text);
	while (left > 0) {
		ssize_t written = write(fd, text, left);
		if (written < 0) {
			if (errno == EINTR)
				continue;
			return false;
		}
		text += written;
		left -= (size_t)written;
	}
	return true;
}
