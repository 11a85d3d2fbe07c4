#!/bin/sh
# A repository of two commits in the present folder, with something to find in the second.
set -eu
git init -q .
printf 'kflow.yaml\n.kflow\n*.txt\nport\ntape\nmore\n' > .git/info/exclude
printf 'int sum(int *a, int n) {\n  int s = 0;\n  for (int i = 0; i < n; ++i) s += a[i];\n  return s;\n}\n' > app.c
git add app.c
git -c user.name=a -c user.email=a@b commit -qm one
printf 'int sum(int *a, int n) {\n  int s = 0;\n  for (int i = 0; i <= n; ++i) s += a[i];\n  return s;\n}\n\nvoid name(char *to, char *from) { strcpy(to, from); }\n' > app.c
git add app.c
git -c user.name=a -c user.email=a@b commit -qm two
