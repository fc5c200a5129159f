"""The C functions that exported headers use, C99 and C++.

NAME stands for the prefix, F for f in float. A header holds those that it calls; each may call those above.
"""

import re

from mlpkit.deploy.normal_quantile import NORMAL_QUANTILE

_ENCODER = r"""
static inline int NAME_is_missing(const char *text) {
    size_t i;
    if (text == NULL) return 1;
    for (i = 0; i < sizeof NAME_missing / sizeof *NAME_missing; i++)
        if (strcmp(text, NAME_missing[i]) == 0) return 1;
    return 0;
}

/* The place of a text among others, or -1. */
static inline int NAME_find(const char *text, const char *const *texts, int count) {
    int i;
    for (i = 0; i < count; i++)
        if (strcmp(text, texts[i]) == 0) return i;
    return -1;
}

/* 1 for yes, 0 for no, 0.5 for neither. */
static inline double NAME_boolean(const char *text) {
    static const char *const words[] = {
        "true", "yes", "y", "t", "1", "1.0", "false", "no", "n", "f", "0", "0.0"
    };
    char lower[8];
    size_t i, length = strlen(text);
    int place;
    if (length >= sizeof lower) return 0.5;
    for (i = 0; i <= length; i++)
        lower[i] = (char)(text[i] >= 'A' && text[i] <= 'Z' ? text[i] - 'A' + 'a' : text[i]);
    place = NAME_find(lower, words, 12);
    return place < 0 ? 0.5 : place < 6 ? 1.0 : 0.0;
}

/* The number that some digits are, or -1. */
static inline int NAME_digits(const char *text, int count) {
    int i, number = 0;
    for (i = 0; i < count; i++) {
        if (text[i] < '0' || text[i] > '9') return -1;
        number = number * 10 + (text[i] - '0');
    }
    return number;
}

/* Days since 1970-01-01 of a date in the Gregorian calendar (Howard Hinnant's algorithm). */
static inline long NAME_days(long year, int month, int day) {
    long era, of_era;
    year -= month <= 2;
    era = (year >= 0 ? year : year - 399) / 400;
    of_era = year - era * 400;
    return era * 146097 + of_era * 365 + of_era / 4 - of_era / 100
        + (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1 - 719468;
}

/* The year, month and day of days since 1970-01-01. */
static inline void NAME_civil(long days, long *year, int *month, int *day) {
    long era, of_era, of_year, years;
    days += 719468;
    era = (days >= 0 ? days : days - 146096) / 146097;
    of_era = days - era * 146097;
    years = (of_era - of_era / 1460 + of_era / 36524 - of_era / 146096) / 365;
    of_year = of_era - (365 * years + years / 4 - years / 100);
    *month = (int)((5 * of_year + 2) / 153);
    *day = (int)(of_year - (153 * *month + 2) / 5 + 1);
    *month += *month < 10 ? 3 : -9;
    *year = years + era * 400 + (*month <= 2);
}

/* Reads 2024-01-31, 2024-01-31T10:05 or 2024-01-31 10:05:00.5Z; returns 0 for anything else. */
static inline int NAME_date(const char *text, long *days, long *seconds) {
    static const int longest[] = {31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    int year, month, day, hour = 0, minute = 0, second = 0;
    size_t length = strlen(text);
    if (length < 10 || text[4] != '-' || text[7] != '-') return 0;
    year = NAME_digits(text, 4);
    month = NAME_digits(text + 5, 2);
    day = NAME_digits(text + 8, 2);
    if (length > 10) {
        if (length < 16 || (text[10] != 'T' && text[10] != ' ') || text[13] != ':') return 0;
        hour = NAME_digits(text + 11, 2);
        minute = NAME_digits(text + 14, 2);
    }
    if (length > 16) {
        const char *rest = text + 19;
        if (length < 19 || text[16] != ':') return 0;
        second = NAME_digits(text + 17, 2);
        if (*rest == '.') {
            if (NAME_digits(++rest, 1) < 0) return 0;
            while (NAME_digits(rest, 1) >= 0) rest++;
        }
        if (*rest != '\0' && strcmp(rest, "Z") != 0 && strcmp(rest, "+00:00") != 0) return 0;
    }
    if (year < 0 || month < 1 || month > 12 || day < 1 || day > longest[month - 1]) return 0;
    if (month == 2 && day == 29 && (year % 4 || (year % 100 == 0 && year % 400))) return 0;
    if (hour < 0 || hour > 23 || minute < 0 || minute > 59 || second < 0 || second > 61) return 0;
    *days = NAME_days(year, month, day);
    *seconds = hour * 3600L + minute * 60L + second;
    if (*seconds >= 86400L) {
        *seconds -= 86400L;
        *days += 1;
    }
    return 1;
}

static inline double NAME_signed_log(double v) { return copysign(log1p(fabs(v)), v); }

static inline double NAME_smooth_clip(double v) { return v / hypot(1.0, v / 3.0); }

static inline double NAME_horner(const double *factors, double x) {
    double sum = 0.0;
    int i;
    for (i = 0; i < 8; i++) sum = sum * x + factors[i];
    return sum;
}

/* The quantile function of the normal distribution (Wichura 1988, AS 241). */
static inline double NAME_normal_quantile(double p) {
NORMAL_QUANTILE
    const double farthest = 5.19933758;
    double q = p - 0.5, r, found;
    if (!(p > 0.0 && p < 1.0)) return copysign(farthest, q);
    if (fabs(q) <= 0.425) {
        r = 0.180625 - q * q;
        return q * NAME_horner(middle, r) / NAME_horner(middle_by, r);
    }
    r = sqrt(-log(q < 0.0 ? p : 1.0 - p));
    if (r <= 5.0) found = NAME_horner(near, r - 1.6) / NAME_horner(near_by, r - 1.6);
    else found = NAME_horner(far, r - 5.0) / NAME_horner(far_by, r - 5.0);
    return copysign(fmin(found, farthest), q);
}

/* The share of the training rows below a value, of which some quantiles are known. */
static inline double NAME_share(double v, const double *known, int count) {
    double sum = 0.0;
    int i;
    for (i = 0; i + 1 < count; i++) {
        if (known[i] < known[i + 1]) {
            double part = (v - known[i]) / (known[i + 1] - known[i]);
            sum += part < 0.0 ? 0.0 : part > 1.0 ? 1.0 : part;
        } else {
            sum += v > known[i] ? 1.0 : v < known[i] ? 0.0 : 0.5;
        }
    }
    return sum / (count - 1);
}
"""

_NETWORK = r"""
static inline void NAME_linear(
    const NAME_real *weight, const NAME_real *bias, int inputs, int outputs, const NAME_real *x, NAME_real *y
) {
    int i, j, stop;
    for (i = 0; i < outputs; i++, weight += inputs) {
        NAME_real sum = 0;
        for (j = 0; j < inputs;) { /* in parts, which rounds less */
            NAME_real part = 0;
            for (stop = j + 32 < inputs ? j + 32 : inputs; j < stop; j++) part += weight[j] * x[j];
            sum += part;
        }
        y[i] = sum + bias[i];
    }
}

static inline void NAME_standardize(const NAME_real *mean, const NAME_real *std, int count, NAME_real *x) {
    int i;
    for (i = 0; i < count; i++) x[i] = (x[i] - mean[i]) / std[i];
}

static inline void NAME_columns(const NAME_real *scale, const NAME_real *shift, int count, NAME_real *x) {
    int i;
    for (i = 0; i < count; i++) x[i] = x[i] * scale[i] + shift[i];
}

static inline void NAME_prelu(const NAME_real *slopes, int slope_count, int count, NAME_real *x) {
    int i;
    for (i = 0; i < count; i++) x[i] = x[i] < 0 ? x[i] * slopes[i % slope_count] : x[i];
}

static inline void NAME_clip(const NAME_real *lowest, const NAME_real *highest, int count, NAME_real *x) {
    int i;
    for (i = 0; i < count; i++) x[i] = x[i] < lowest[i] ? lowest[i] : x[i] > highest[i] ? highest[i] : x[i];
}

static inline void NAME_periodic(
    const NAME_real *numbers, const NAME_real *frequency, const NAME_real *phase, const NAME_real *weight,
    const NAME_real *bias, int count, int waves, int width, int size, NAME_real *x
) {
    int i, j, k;
    for (i = 0; i < count; i++) {
        NAME_real turn = x[(int)numbers[i]] * (NAME_real)6.28318530717958648, *y = x + size + i * width;
        memcpy(y, bias + i * width, width * sizeof *y);
        for (j = 0; j < waves; j++) {
            NAME_real wave = cosF(turn * frequency[i * waves + j] + phase[i * waves + j]);
            for (k = 0; k < width; k++) y[k] += weight[(i * width + k) * waves + j] * wave;
        }
    }
}

static inline void NAME_layer_norm(
    const NAME_real *weight, const NAME_real *bias, NAME_real eps, int count, NAME_real *x
) {
    NAME_real mean = 0, spread = 0;
    int i;
    for (i = 0; i < count; i++) mean += x[i];
    mean /= (NAME_real)count;
    for (i = 0; i < count; i++) spread += (x[i] - mean) * (x[i] - mean);
    spread = sqrtF(spread / (NAME_real)count + eps);
    for (i = 0; i < count; i++) x[i] = (x[i] - mean) / spread * weight[i] + bias[i];
}

static inline void NAME_exp(int count, NAME_real *x) {
    int i;
    for (i = 0; i < count; i++) x[i] = expF(x[i]);
}

static inline void NAME_inverse_yeo_johnson(
    const NAME_real *power, const NAME_real *lowest, const NAME_real *highest, int count, NAME_real *x
) {
    int i;
    for (i = 0; i < count; i++) {
        NAME_real v = fminF(fmaxF(x[i], lowest[i]), highest[i]);
        NAME_real p = v < 0 ? 2 - power[i] : power[i], size = fabsF(v);
        x[i] = copysignF(expm1F(p < 0 || p > 0 ? log1pF(p * size) / p : size), v);
    }
}

static inline NAME_real NAME_sigmoid(NAME_real z) {
    NAME_real small = expF(-fabsF(z));
    return (z >= 0 ? 1 : small) / (1 + small);
}

static inline NAME_real NAME_softplus(NAME_real z) {
    return log1pF(expF(-fabsF(z))) + (z < 0 ? 0 : z);
}

static inline void NAME_softmax(int count, NAME_real *x) {
    NAME_real most = x[0], sum = 0;
    int i;
    for (i = 1; i < count; i++) most = x[i] > most ? x[i] : most;
    for (i = 0; i < count; i++) sum += x[i] = expF(x[i] - most);
    for (i = 0; i < count; i++) x[i] /= sum;
}
"""

_ACTIVATION = r"""
static inline void NAME_KIND(int count, NAME_real *x) {
    int i;
    for (i = 0; i < count; i++) {
        NAME_real z = x[i];
        x[i] = VALUE;
    }
}
"""

ACTIVATIONS = {
    "relu": "z < 0 ? 0 : z",
    "leaky_relu": "z < 0 ? z * (NAME_real)0.01 : z",
    "elu": "z < 0 ? expm1F(z) : z",
    "gelu": "z * (NAME_real)0.5 * (1 + erfF(z * (NAME_real)0.70710678118654752))",
    "silu": "z * NAME_sigmoid(z)",
    "mish": "z * tanhF(NAME_softplus(z))",
    "selu": "(NAME_real)1.0507009873554805 * (z < 0 ? (NAME_real)1.6732632423543772 * expm1F(z) : z)",
    "softplus": "NAME_softplus(z)",
    "tanh": "tanhF(z)",
    "sigmoid": "NAME_sigmoid(z)",
}


def functions(body: str, name: str, is_double: bool) -> str:
    """Return the functions that a header's body calls, and those that they call.

    Args:
        body: C with the functions' final names.
        name: the prefix.
        is_double: whether networks compute in double.
    """
    tables = "\n".join(
        f"    static const double {title}[] = {{{', '.join(map(repr, factors))}}};"
        for title, factors in NORMAL_QUANTILE.items()
    )
    activations = "".join(
        _ACTIVATION.replace("KIND", f"{kind}_layer").replace("VALUE", value)
        for kind, value in ACTIVATIONS.items()
    )
    texts = [*_split(_ENCODER), *_split(_NETWORK), *_split(activations)]
    kept: list[str] = []
    for text in reversed(texts):
        full = text.replace("NORMAL_QUANTILE\n", f"{tables}\n")
        full = re.sub(r"\b([a-z0-9]+)F\(", r"\1(" if is_double else r"\1f(", full).replace("NAME", name)
        called = re.search(rf"({name}_\w+)\(", full)
        assert called is not None
        if re.search(rf"\b{called[1]}\(", body + "".join(kept)):
            kept.insert(0, full)
    return "\n\n".join(kept)


def _split(text: str) -> list[str]:
    return [part.strip() for part in re.split(r"(?<=\})\n\n", text.strip()) if part.strip()]
