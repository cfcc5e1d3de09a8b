/* A Python object's octets, with no buffer protocol for the two types that nearly all callers pass.
 *
 * A view taken without the protocol has no owner to release: PyBuffer_Release then does nothing,
 * and the caller's own reference to the object keeps the memory.
 */
#ifndef VOICECALL_OCTETS_H
#define VOICECALL_OCTETS_H

#include <Python.h>

/* Any C-contiguous bytes-like object, to be read. */
static inline int octets_view(PyObject *data, Py_buffer *view)
{
    if (PyBytes_CheckExact(data)) {
        view->buf = PyBytes_AS_STRING(data);
        view->len = PyBytes_GET_SIZE(data);
        view->obj = NULL;
        return 0;
    }
    return PyObject_GetBuffer(data, view, PyBUF_SIMPLE);
}

/* The same, to be written to. The bytearray's memory stays put while the GIL is held. */
static inline int octets_room(PyObject *data, Py_buffer *view)
{
    if (PyByteArray_CheckExact(data)) {
        view->buf = PyByteArray_AS_STRING(data);
        view->len = PyByteArray_GET_SIZE(data);
        view->obj = NULL;
        return 0;
    }
    return PyObject_GetBuffer(data, view, PyBUF_WRITABLE);
}

#endif
