// What a plugin in C would do with a request: read JSON, sort, hash, print. It
// uses no library, so that clang and wasm-ld are all that is needed.

static const char text[] =
    "{\"releases\":[{\"name\":\"web\",\"namespace\":\"shop\",\"revision\":12,\"status\":\"deployed\"},"
    "{\"name\":\"db\",\"namespace\":\"shop\",\"revision\":3,\"status\":\"failed\"},"
    "{\"name\":\"cache\",\"namespace\":\"infra\",\"revision\":107,\"status\":\"deployed\"}]}";

static unsigned hash(const char *s, unsigned n) {
  unsigned h = 2166136261u;
  for (unsigned i = 0; i < n; i++) h = (h ^ (unsigned char)s[i]) * 16777619u;
  return h;
}

static unsigned found[64], count;

// value reads one JSON value at s and returns what follows it. It keeps the hash
// of each string and each number.
static const char *value(const char *s) {
  if (*s == '{' || *s == '[') {
    do {
      s = value(s + 1);
      if (*s == ':') s = value(s + 1);
    } while (*s == ',');
    return s + 1;
  }
  unsigned v = 0;
  if (*s == '"') {
    const char *end = s + 1;
    while (*end != '"') end++;
    v = hash(s + 1, (unsigned)(end - s - 1));
    s = end + 1;
  } else {
    while (*s >= '0' && *s <= '9') v = v * 10 + (unsigned)(*s++ - '0');
  }
  if (count < 64) found[count++] = v;
  return s;
}

static void sort(unsigned *a, int low, int high) {
  while (low < high) {
    unsigned pivot = a[(low + high) / 2];
    int i = low, j = high;
    while (i <= j) {
      while (a[i] < pivot) i++;
      while (a[j] > pivot) j--;
      if (i <= j) {
        unsigned t = a[i];
        a[i++] = a[j];
        a[j--] = t;
      }
    }
    sort(a, low, j);
    low = i;
  }
}

static char out[1024];

static unsigned print(void) {
  unsigned n = 0;
  for (unsigned i = 0; i < count; i++) {
    char digits[10];
    int k = 0;
    unsigned v = found[i];
    do digits[k++] = (char)('0' + v % 10);
    while ((v /= 10) > 0);
    while (k > 0 && n < sizeof out) out[n++] = digits[--k];
    if (n < sizeof out) out[n++] = '\n';
  }
  return n;
}

__attribute__((export_name("run"))) unsigned run(unsigned times) {
  unsigned sum = 0;
  while (times-- > 0) {
    count = 0;
    value(text);
    sort(found, 0, (int)count - 1);
    sum += hash(out, print());
  }
  return sum;
}
