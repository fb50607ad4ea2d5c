/* Picks the mode: `chr-agent-helper MODE …`. */
#include "helper.h"
#include "text.h"

#include <string.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	if (argc >= 2 && strcmp(argv[1], "job") == 0)
		return job_main(argc - 2, argv + 2);
	if (argc >= 2 && strcmp(argv[1], "guard") == 0)
		return guard_main(argc - 2, argv + 2);
	if (argc >= 2 && strcmp(argv[1], "account") == 0)
		return account_main(argc - 2, argv + 2);
	if (argc >= 2 && strcmp(argv[1], "files") == 0)
		return files_main(argc - 2, argv + 2);
	write_text(STDERR_FILENO, "chr-agent-helper: started by chr-agent only; modes: job, guard, account, files\n");
	return EXIT_USAGE;
}
