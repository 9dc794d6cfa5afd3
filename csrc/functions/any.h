#pragma once
#include "functions.h"
#include "erf.h"
namespace derf::CPU_CAPABILITY {
template <class S> struct AnyFunction { void (*value)(const Vec<S>*, Vec<S>*, int); void (*gradient)(const Vec<S>*, Vec<S>*, Vec<S>*, int); };
template <class S> __attribute__((noinline)) void erf_value(const Vec<S>* u, Vec<S>* v, int n) { for (int i=0;i<n;i+=2) { Pack<S,2> a{u[i],u[i+1]}; auto r = Erf<S>::value(a); v[i]=r[0]; v[i+1]=r[1]; } }
template <class S> __attribute__((noinline)) void erf_gradient(const Vec<S>* u, Vec<S>* v, Vec<S>* s, int n) { for (int i=0;i<n;i+=2) { Pack<S,2> a{u[i],u[i+1]}; auto r = Erf<S>::template gradient<true>(a); v[i]=r.value[0]; v[i+1]=r.value[1]; s[i]=keep(r.alive[0], r.slope[0]); s[i+1]=keep(r.alive[1], r.slope[1]); } }
template <class S> const AnyFunction<S>& any_function(Function) { static const AnyFunction<S> f{&erf_value<S>, &erf_gradient<S>}; return f; }
}
