// Macros that common libraries define, as they define them, before anything of Lamina is included: it must compile, and
// the macros must be there afterwards.

// Qt
#define emit
#define foreach(variable, container) for (variable : container)
#define forever for (;;)
#define signals public
#define slots

// Windows
#define ABSOLUTE 1
#define CALLBACK __stdcall
#define CONST const
#define DELETE (0x00010000L)
#define DIFFERENCE 1
#define ERROR 1
#define IGNORE 1
#define IN
#define OPAQUE 1
#define OPTIONAL
#define OUT
#define RELATIVE 1
#define STRICT 1
#define THIS this
#define TRANSPARENT 1
#define VOID void
#define cdecl
#define far
#define hyper __int64
#define interface struct
#define max(a, b) ((a) > (b) ? (a) : (b))
#define min(a, b) ((a) < (b) ? (a) : (b))
#define near
#define pascal __stdcall
#define small char

// X11
#define Above 1
#define Always 1
#define Below 1
#define Bool int
#define Complex 1
#define ControlMask 1
#define Convex 1
#define CurrentTime 1
#define CursorShape 1
#define Expose 1
#define False 1
#define FocusIn 1
#define FocusOut 1
#define GrayScale 1
#define KeyPress 1
#define KeyRelease 1
#define None 0L
#define Nonconvex 1
#define Opposite 1
#define Status int
#define Success 1
#define True 1
#define Unsorted 1
#define YSorted 1

// Arduino
#define B0 1
#define B1 1
#define B10 1
#define B11 1
#define CHANGE 1
#define DEFAULT 1
#define DISPLAY 1
#define EULER 1
#define EXTERNAL 1
#define F(text) (text)
#define HALF_PI 1
#define HIGH 1
#define INPUT 1
#define INTERNAL 1
#define LOW 1
#define OUTPUT 1
#define PI 3.1415926535897932384626433832795
#define SERIAL 1
#define TWO_PI 1
#define abs(x) ((x) > 0 ? (x) : -(x))
#define bit(b) (1UL << (b))
#define bitClear(x, b) ((x) &= ~(1UL << (b)))
#define bitRead(x, b) ((x) >> (b)&1)
#define bitSet(x, b) ((x) |= (1UL << (b)))
#define bitWrite(x, b, v) ((v) ? bitSet(x, b) : bitClear(x, b))
#define constrain(x, low, high) ((x) < (low) ? (low) : (x))
#define degrees(x) ((x)*57.3)
#define highByte(w) ((w) >> 8)
#define interrupts() sei()
#define lowByte(w) ((w)&0xff)
#define noInterrupts() cli()
#define radians(x) ((x)*0.01745)
#define round(x) ((long)((x) + 0.5))
#define sq(x) ((x) * (x))
#define word(...) makeWord(__VA_ARGS__)

// Apple's AssertMacros.h and Objective-C, <complex.h>, <sys/sysmacros.h>, GNU modes, R
#define I _Complex_I
#define NO 1
#define YES 1
#define check(assertion)
#define complex _Complex
#define error Rf_error
#define length Rf_length
#undef linux
#define linux 1
#define major(device) gnu_dev_major(device)
#define makedev(a, b) gnu_dev_makedev(a, b)
#define minor(device) gnu_dev_minor(device)
#define nil nullptr
#define require(assertion, label)
#undef unix
#define unix 1
#define verify(assertion)

#include <lamina/io.hpp>
#include <lamina/lamina.hpp>

#if !(defined(emit) && defined(foreach) && defined(forever) && defined(signals) && defined(slots) &&                   \
      defined(ABSOLUTE) && defined(CALLBACK) && defined(CONST) && defined(DELETE) && defined(DIFFERENCE) &&            \
      defined(ERROR) && defined(IGNORE) && defined(IN) && defined(OPAQUE) && defined(OPTIONAL) && defined(OUT) &&      \
      defined(RELATIVE) && defined(STRICT) && defined(THIS) && defined(TRANSPARENT) && defined(VOID) &&                \
      defined(cdecl) && defined(far) && defined(hyper) && defined(interface) && defined(max) && defined(min) &&        \
      defined(near) && defined(pascal) && defined(small) && defined(Above) && defined(Always) && defined(Below) &&     \
      defined(Bool) && defined(Complex) && defined(ControlMask) && defined(Convex) && defined(CurrentTime) &&          \
      defined(CursorShape) && defined(Expose) && defined(False) && defined(FocusIn) && defined(FocusOut) &&            \
      defined(GrayScale) && defined(KeyPress) && defined(KeyRelease) && defined(None) && defined(Nonconvex) &&         \
      defined(Opposite) && defined(Status) && defined(Success) && defined(True) && defined(Unsorted) &&                \
      defined(YSorted) && defined(B0) && defined(B1) && defined(B10) && defined(B11) && defined(CHANGE) &&             \
      defined(DEFAULT) && defined(DISPLAY) && defined(EULER) && defined(EXTERNAL) && defined(F) && defined(HALF_PI) && \
      defined(HIGH) && defined(INPUT) && defined(INTERNAL) && defined(LOW) && defined(OUTPUT) && defined(PI) &&        \
      defined(SERIAL) && defined(TWO_PI) && defined(abs) && defined(bit) && defined(bitClear) && defined(bitRead) &&   \
      defined(bitSet) && defined(bitWrite) && defined(constrain) && defined(degrees) && defined(highByte) &&           \
      defined(interrupts) && defined(lowByte) && defined(noInterrupts) && defined(radians) && defined(round) &&        \
      defined(sq) && defined(word) && defined(I) && defined(NO) && defined(YES) && defined(check) &&                   \
      defined(complex) && defined(error) && defined(length) && defined(linux) && defined(major) && defined(makedev) && \
      defined(minor) && defined(nil) && defined(require) && defined(unix) && defined(verify))
#error "a macro of the program is gone after Lamina was included"
#endif
#if max(1, 2) != 2 || min(1, 2) != 1 || sq(3) != 9
#error "a macro of the program was changed by Lamina"
#endif

// For backwards.cpp, which is linked with this: they share inline state and instantiations.
lamina::Sequential<float> model() { return {lamina::Linear(4, 8), lamina::ReLU(), lamina::Linear(8, 2)}; }
