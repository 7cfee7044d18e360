"""Films: decoded, enlarged frame by frame, encoded; everything else in them is copied (extra `video`).

Only this folder knows PyAV. A frame is a picture like any other (`camixersr.enlarge`); here are its colours
(`colours`), where a film is cut (`segments`), what reads and writes it (`film`, `encode`, `remux`), and the
run (`run`). See docs/video.md and docs/decisions/.
"""
