"""Parts of C code that exported models are put together from."""

# How operations of formulas are written; F stands for the suffix of functions of that type.
WORDS = {name: f"{name}F({{}})" for name in ("exp", "expm1", "log", "log1p", "sqrt", "tanh", "erf")}
WORDS |= {"absolute": "fabsF({})", "where": "({} ? {} : {})", "greater": "{} > {}"}
WORDS |= {"maximum": "larger({}, {})", "minimum": "smaller({}, {})"}


def _function(head: str, inside: str) -> str:
    return f"\nstatic real {head}\n{{\n    return {inside};\n}}\n"


# Functions that C does not have.
HELPERS = {
    "maximum": _function("larger(real a, real b)", "a > b ? a : b"),
    "minimum": _function("smaller(real a, real b)", "a < b ? a : b"),
    "logistic": _function(
        "logistic(real z)", "z >= 0 ? 1 / (1 + expF(-z)) : expF(z) / (1 + expF(z))"
    ),
    "softplus": _function("softplus(real z)", "(z > 0 ? z : 0) + log1pF(expF(-fabsF(z)))"),
}

AFFINE = """
/* z = a W + b */
static void affine(const real *a, int n, const real *W, const real *b, int m, real *z)
{
    int i, j;
    for (j = 0; j < m; j++)
        z[j] = b[j];
    for (i = 0; i < n; i++)
        for (j = 0; j < m && a[i] != 0; j++)
            z[j] += a[i] * W[(long)i * m + j];
}
"""

SOFTMAX = """
static void softmax(real *a, int n)
{
    real largest = a[0], sum = 0;
    int i;
    for (i = 1; i < n; i++)
        if (a[i] > largest)
            largest = a[i];
    for (i = 0; i < n; i++)
        sum += a[i] = expF(a[i] - largest);
    for (i = 0; i < n; i++)
        a[i] /= sum;
}
"""

HELPERS["softmax"] = SOFTMAX

LAYER_NORM = """
static void layer_norm(real *a, int n, const real *scale, const real *shift, real epsilon)
{
    real mean = 0, variance = 0;
    int i;
    for (i = 0; i < n; i++)
        mean += a[i] / n;
    for (i = 0; i < n; i++)
        variance += (a[i] - mean) * (a[i] - mean) / n;
    for (i = 0; i < n; i++)
        a[i] = (a[i] - mean) / sqrtF(variance + epsilon) * scale[i] + shift[i];
}
"""

ORDERED = """
/* In runs of n, each value above the last. */
static void ordered(real *a, int size, int n)
{
    int i;
    for (i = 0; i < size; i++)
        if (i % n)
            a[i] = a[i - 1] + softplus(a[i]);
}
"""

SAME = """
static int same(const char *a, const char *b)
{
    while (*a && *a == *b) {
        a++;
        b++;
    }
    return *a == *b;
}
"""

SAME_LEVEL = """
/* How many bytes the blank at the start of a text takes, 0 if there is none; Unicode's count. */
static int blank(const char *a)
{
    static const char *const others[] = {
        "\\x1c", "\\x1d", "\\x1e", "\\x1f", "\\xc2\\x85", "\\xc2\\xa0", "\\xe1\\x9a\\x80",
        "\\xe2\\x80\\xa8", "\\xe2\\x80\\xa9", "\\xe2\\x80\\xaf", "\\xe2\\x81\\x9f",
        "\\xe3\\x80\\x80"
    };
    int i, n;
    if (*a == ' ' || (*a >= '\\t' && *a <= '\\r'))
        return 1;
    if (a[0] == '\\xe2' && a[1] == '\\x80' && (a[2] & 0xff) >= 0x80 && (a[2] & 0xff) <= 0x8a)
        return 3;
    for (i = 0; i < (int)(sizeof others / sizeof *others); i++) {
        for (n = 0; others[i][n] && others[i][n] == a[n]; n++)
            ;
        if (!others[i][n])
            return n;
    }
    return 0;
}

/* Whether a is the text b; blanks around a do not count. */
static int same_level(const char *a, const char *b)
{
    int n;
    while ((n = blank(a)) > 0)
        a += n;
    while (*b && *a == *b) {
        a++;
        b++;
    }
    if (*b)
        return 0;
    while ((n = blank(a)) > 0)
        a += n;
    return !*a;
}
"""

# With such options isnan and isinf are always false.
FINITE = """
#if (defined(__FINITE_MATH_ONLY__) && __FINITE_MATH_ONLY__ > 0) || defined(_M_FP_FAST)
#error "missing numbers are NAN here: compile without -ffast-math, or add -fno-finite-math-only"
#endif
"""

# The calendar by Gregorian periods of 400 years, counted from the first of March.
DATES = """
/* A part of a date in seconds since 1970, UTC. */
static double date_part(double seconds, char part)
{
    double days = floor(seconds / 86400), rest = floor(seconds) - days * 86400;
    double era = floor((days + 719468) / 146097), day = days + 719468 - era * 146097;
    double year = floor((day - floor(day / 1460) + floor(day / 36524) - floor(day / 146096)) / 365);
    double month, before;

    if (part == 'w')
        return fmod(fmod(days + 3, 7) + 7, 7) + 1;
    if (part == 'h')
        return floor(rest / 3600);
    if (part == 'u')
        return (seconds - days * 86400) / 3600;
    if (part == 'i')
        return fmod(floor(rest / 60), 60);
    if (part == 's')
        return fmod(rest, 60);
    day -= 365 * year + floor(year / 4) - floor(year / 100);
    month = floor((5 * day + 2) / 153);
    if (part == 'd')
        return day - floor((153 * month + 2) / 5) + 1;
    if (part == 'm')
        return month < 10 ? month + 3 : month - 9;
    year = year + 400 * era + (month >= 10);
    if (part == 'y')
        return year;
    before = year - 1; /* 'n': the day of the year */
    return days + 719163 - 365 * before - floor(before / 4) + floor(before / 100)
        - floor(before / 400);
}
"""
