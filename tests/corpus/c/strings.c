/* What string.h, ctype.h and the like do with the words of standard input. */
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct word {
    struct word *left, *right;
    int count;
    char text[];
};

static struct word *add(struct word *tree, const char *text)
{
    if (!tree) {
        struct word *made = calloc(1, sizeof *made + strlen(text) + 1);
        strcpy(made->text, text);
        made->count = 1;
        return made;
    }
    int order = strcmp(text, tree->text);
    if (order < 0)
        tree->left = add(tree->left, text);
    else if (order > 0)
        tree->right = add(tree->right, text);
    else
        tree->count++;
    return tree;
}

static void print(const struct word *tree)
{
    if (!tree)
        return;
    print(tree->left);
    printf("%4d %s %zu %zu\n", tree->count, tree->text, strcspn(tree->text, "aeiou"), strspn(tree->text, "the"));
    print(tree->right);
}

int main(void)
{
    static char line[4096];
    struct word *tree = NULL;
    int lines = 0;
    while (fgets(line, sizeof line, stdin)) {
        lines++;
        for (char *p = line; *p; p++)
            *p = (char)(isalpha((unsigned char)*p) ? tolower((unsigned char)*p) : ' ');
        for (char *word = strtok(line, " "); word; word = strtok(NULL, " "))
            tree = add(tree, word);
    }
    print(tree);
    char text[64] = "needle in a haystack";
    memmove(text + 3, text, 18);
    printf("%d %s %s %s %d\n", lines, text, strstr(text, "hay"), strrchr(text, 'a'), strncmp(text, "neenee", 6));
    printf("%zu %s %s\n", strlen(strcat(text, "!")), strpbrk(text, "xyz"), (char *)memchr(text, 'l', 10));
    return 0;
}
