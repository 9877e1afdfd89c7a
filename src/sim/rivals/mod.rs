//! Other ways to control overload, one file each, with the settings of their authors.
